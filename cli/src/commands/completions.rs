use std::process::ExitCode;

use crate::progress::answer;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell that is to complete.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, command: &clap::Command) -> ExitCode {
    answer(&script(args.shell, command));
    ExitCode::SUCCESS
}

/// Shells find it for `./homeward` as well: they go by the last part of a path.
fn script(shell: clap_complete::Shell, command: &clap::Command) -> String {
    let mut command = shown(command).version(env!("CARGO_PKG_VERSION"));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "homeward", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Without what is hidden, which would be offered as well.
fn shown(command: &clap::Command) -> clap::Command {
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let subcommands = command.get_subcommands().filter(|it| !it.is_hide_set());
    clap::Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(args.cloned())
        .subcommands(subcommands.map(shown))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::CommandFactory;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn bash_completes_commands_and_their_options() {
        let script = script(Shell::Bash, &crate::Cli::command());
        let complete = |words: &str| {
            let count = words.split(' ').count() - 1;
            let ask = format!(
                "{script}\nCOMP_WORDS=({words}) COMP_CWORD={count}\n\
                 _homeward homeward \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
                 echo \"${{COMPREPLY[*]}}\""
            );
            let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(complete("homeward doc"), "doctor");
        assert_eq!(complete("homeward doctor --js"), "--json");
        assert_eq!(complete("homeward db re"), "reset");
        assert_eq!(complete("homeward up --su"), "");
    }

    #[test]
    fn every_shell_has_every_command_but_the_hidden_ones() {
        let command = crate::Cli::command();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell, &command);
            for subcommand in command.get_subcommands() {
                let name = subcommand.get_name();
                let found = script.contains(name);
                assert_eq!(found, !subcommand.is_hide_set(), "{shell}: {name}");
            }
        }
    }
}
