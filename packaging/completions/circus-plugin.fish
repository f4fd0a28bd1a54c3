# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_circus_plugin_global_optspecs
    string join \n socket= config= h/help V/version
end

function __fish_circus_plugin_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_circus_plugin_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_circus_plugin_using_subcommand
    set -l cmd (__fish_circus_plugin_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -l socket -d 'The socket of circusd; without it CIRCUS_SOCKET, or where circusctl looks' -r -F
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -l config -d 'Set one of its keys; may be repeated' -r
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -s V -l version -d 'Print version'
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -a "describe" -d 'Say what a plugin does, and its keys with types and defaults'
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -a "list" -d 'List the plugins that there are'
complete -c circus-plugin -n "__fish_circus_plugin_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand describe" -l json -d 'Print one JSON document'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand describe" -s h -l help -d 'Print help'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand list" -l json -d 'Print one JSON document'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand list" -s h -l help -d 'Print help'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand help; and not __fish_seen_subcommand_from describe list help" -f -a "describe" -d 'Say what a plugin does, and its keys with types and defaults'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand help; and not __fish_seen_subcommand_from describe list help" -f -a "list" -d 'List the plugins that there are'
complete -c circus-plugin -n "__fish_circus_plugin_using_subcommand help; and not __fish_seen_subcommand_from describe list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
