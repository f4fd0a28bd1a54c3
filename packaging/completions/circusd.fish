complete -c circusd -l config -d 'Read this instead of the usual files; may be repeated, later ones win' -r -F
complete -c circusd -l socket -d 'Answer on this socket; a name that begins with @ is abstract' -r
complete -c circusd -l set -d 'Set any setting, such as watcher.web.numprocesses=5; may be repeated' -r
complete -c circusd -l log-level -d 'Log error, warn, info, debug or trace, or levels per part' -r
complete -c circusd -l check-state -d 'Check the configuration and whether this circusd could go on with the state that another one has left there, start nothing; exit 0, 78 or 1' -r -F
complete -c circusd -l check -d 'Read and check everything, start nothing; exit 0, or 78 with all errors'
complete -c circusd -l stop-post -d 'Stop the workers that are left of a unit that is being stopped, if any are; for ExecStopPost= of the unit, see systemd.service(5)'
complete -c circusd -l print-schema -d 'Print the JSON Schema of the configuration'
complete -c circusd -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusd -s V -l version -d 'Print version'
