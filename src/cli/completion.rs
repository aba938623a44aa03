//! Completion scripts, made from the parser.

use clap::{Arg, ArgMatches, Command};

use super::Failure;
use super::raw::Raw;

/// The shells that there are scripts for.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

pub(super) fn arguments(command: Command) -> Command {
    command.arg(Arg::new("shell").required(true).value_parser(SHELLS).help("Which shell"))
}

/// `rk completion`.
pub(super) fn run(_: &Raw, matches: &ArgMatches) -> Result<(), Failure> {
    let shell = matches.get_one::<String>("shell").map_or("bash", String::as_str);
    print!("{}", script(&super::parser(), shell));
    Ok(())
}

/// Long flags of a command.
fn flags(command: &Command) -> Vec<String> {
    let longs = command.get_arguments().filter_map(Arg::get_long);
    longs.map(|long| format!("--{long}")).collect()
}

fn script(program: &Command, shell: &str) -> String {
    match shell {
        "fish" => fish(program),
        // zsh runs bash's completions after this line.
        "zsh" => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(program)),
        _ => bash(program),
    }
}

fn bash(program: &Command) -> String {
    let commands: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
    let cases: String = program
        .get_subcommands()
        .map(|command| {
            let mut words = flags(command);
            let positional = command.get_positionals().flat_map(Arg::get_possible_values);
            words.extend(positional.map(|value| value.get_name().to_owned()));
            let nested = command.get_subcommands().map(|nested| nested.get_name().to_owned());
            words.extend(nested);
            format!("    {}) words=\"{}\" ;;\n", command.get_name(), words.join(" "))
        })
        .collect();
    format!(
        "\
_rk() {{
  local words word=\"${{COMP_WORDS[COMP_CWORD]}}\"
  case \"${{COMP_CWORD:-1}}:${{COMP_WORDS[1]}}\" in
    1:*) words=\"{}\" ;;
    *) case \"${{COMP_WORDS[1]}}\" in
{cases}    esac ;;
  esac
  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))
  if [ ${{#COMPREPLY[@]}} -eq 0 ]; then COMPREPLY=($(compgen -f -- \"$word\")); fi
}}
complete -F _rk rk
",
        commands.join(" ")
    )
}

fn fish(program: &Command) -> String {
    let mut script = String::new();
    let text = |styled: Option<&clap::builder::StyledStr>| {
        styled.map(ToString::to_string).unwrap_or_default().replace('\'', "\\'")
    };
    for command in program.get_subcommands() {
        let (name, about) = (command.get_name(), text(command.get_about()));
        script.push_str(&format!(
            "complete -c rk -n __fish_use_subcommand -f -a {name} -d '{about}'\n"
        ));
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let takes = if arg.get_action().takes_values() { " -r" } else { "" };
            let help = text(arg.get_help());
            script.push_str(&format!(
                "complete -c rk -n '__fish_seen_subcommand_from {name}' -l {long}{takes} -d '{help}'\n"
            ));
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_offered() {
        let program = crate::cli::parser();
        for shell in SHELLS {
            let script = script(&program, shell);
            for command in program.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}");
                for flag in flags(command) {
                    assert!(script.contains(flag.trim_start_matches("--")), "{shell} {flag}");
                }
            }
        }
    }
}
