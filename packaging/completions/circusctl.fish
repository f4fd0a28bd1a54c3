# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_circusctl_global_optspecs
    string join \n socket= json timeout= host= h/help V/version
end

function __fish_circusctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_circusctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_circusctl_using_subcommand
    set -l cmd (__fish_circusctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c circusctl -n "__fish_circusctl_needs_command" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_needs_command" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_needs_command" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_needs_command" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_needs_command" -s V -l version -d 'Print version'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "status" -d 'Show the state of the watchers, and why one is not simply running'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "list" -d 'List the watchers, or the pids of one of them'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "numprocesses" -d 'Show how many processes there are, or set how many a watcher shall have'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "numwatchers" -d 'Show how many watchers there are'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "stats" -d 'Show what the processes use: CPU, memory, tasks, descriptors'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "dstats" -d 'Show what the daemon itself uses and has done'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "listsockets" -d 'List the sockets that circusd has open for its processes'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "why" -d 'Tell the story of a watcher: its state, why, and what happens next'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "get" -d 'Show some options of a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "options" -d 'Show all options of a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "globaloptions" -d 'Show the settings of the daemon'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "listen" -d 'Print events as they happen, one on a line'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "logs" -d 'Show what the processes of watchers have written'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "version" -d 'Show the version of circusctl and of the daemon'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "answer" -d 'Answer for hooks with a program, as long as this command runs'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "start" -d 'Start watchers'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "stop" -d 'Stop watchers'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "restart" -d 'Stop watchers and start them again'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "reload" -d 'Replace the processes of watchers without stopping the service'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "incr" -d 'Give a watcher more processes'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "decr" -d 'Take processes from a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "signal" -d 'Send a signal to the processes of a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "kill" -d 'End processes of a watcher; the watcher replaces them'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "freeze" -d 'Halt all processes of watchers where they stand'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "thaw" -d 'Let frozen watchers go on'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "add" -d 'Add a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "rm" -d 'Stop a watcher and remove it'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "set" -d 'Change options of a watcher'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "reloadconfig" -d 'Read the configuration files again and do what they say'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "validate" -d 'Check the configuration files without a daemon'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "quit" -d 'Stop all watchers and the daemon'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "reexec" -d 'Replace the running circusd by the program on disk'
complete -c circusctl -n "__fish_circusctl_needs_command" -f -a "help" -d 'Explain a command, or a key of the configuration'
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand numwatchers" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand numwatchers" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand numwatchers" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand numwatchers" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand numwatchers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l interval -d 'Take a sample this often until interrupted' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l extended -d 'Ask the hook extended_stats of each watcher for more'
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -l children -d 'With what runs below each process'
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand dstats" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand dstats" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand dstats" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand dstats" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand dstats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand listsockets" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand listsockets" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand listsockets" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand listsockets" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand listsockets" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -l origin -d 'Show where each value comes from: file and line, flag, environment, API or default'
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -l origin -d 'Show where each value comes from: file and line, flag, environment, API or default'
complete -c circusctl -n "__fish_circusctl_using_subcommand globaloptions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -l since -d 'Begin behind this place in the event log' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand listen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -s n -l lines -d 'Begin with so many lines, of each file; 50 unless --since says from when on' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l since -d 'Begin at this time: \'2026-11-20 14:00\', yesterday, \'10 min ago\', as journalctl(1) has it' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l wid -d 'Only the process at this place of the watcher' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -s o -l output -d 'Write records so: cat, short-iso, json, or another format of journalctl(1)' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -s f -l follow -d 'Go on with what is written from now on, until interrupted'
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand version" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand version" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand version" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand version" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l watcher -d 'Only those of this watcher, by name or shell-style pattern' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l within -d 'How long an answer may take; without it, as long as hook_timeout says' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand answer" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l sequential -d 'Replace one process after the other'
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l terminate -d 'Stop the old processes first, even if that interrupts the service'
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l wid -d 'Only the process at this place of the watcher' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l pid -d 'Only the process with this process id' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l child -d 'To this process below the one of --pid or --wid, by process id, and to nobody else' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l children -d 'To the children of the processes, not to the processes themselves'
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -l recursive -d 'To the processes and everything below them'
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l wid -d 'Only the process at this place of the watcher' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l pid -d 'Only the process with this process id' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l signal -d 'In place of the watcher\'s stop signal' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l graceful-timeout -d 'In place of the watcher\'s own time until SIGKILL; 0: SIGKILL at once' -r -f
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -l start -d 'Start it at once'
complete -c circusctl -n "__fish_circusctl_using_subcommand add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -l nostop -d 'Leave the processes running, without anybody to watch them'
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -l dry-run -d 'Only say what would happen'
complete -c circusctl -n "__fish_circusctl_using_subcommand reloadconfig" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -l config -d 'This file or directory in place of the usual ones' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand validate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -l no-wait -d 'Do not wait for the end of the work: return as soon as the daemon has accepted it'
complete -c circusctl -n "__fish_circusctl_using_subcommand quit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand reexec" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand reexec" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand reexec" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand reexec" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand reexec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand help" -l socket -d 'The socket of the daemon; a name @x is abstract' -r -F
complete -c circusctl -n "__fish_circusctl_using_subcommand help" -l timeout -d 'Give up after this time, with exit code 4' -r
complete -c circusctl -n "__fish_circusctl_using_subcommand help" -l host -d 'Have circusctl of another machine do it, by way of ssh(1)' -r -f -a "(__fish_print_hostnames)"
complete -c circusctl -n "__fish_circusctl_using_subcommand help" -l json -d 'Print each reply, or the error, as one line of JSON'
complete -c circusctl -n "__fish_circusctl_using_subcommand help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circusctl -n "__fish_circusctl_using_subcommand status" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand list" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand numprocesses" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand stats" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand why" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand get" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand options" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand logs" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand start" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand stop" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand restart" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand reload" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand incr" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand decr" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand signal" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand kill" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand freeze" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand thaw" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand rm" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
complete -c circusctl -n "__fish_circusctl_using_subcommand set" -f -a "(circusctl --timeout 1 list 2>/dev/null)"
