//! The `fanfare` program.
//!
//! - `settings/`: flags, variables and the TOML file
//! - `commands/`: serve, pub, sub, doctor
//! - `client`: the WebSocket client under pub and sub
//! - `logging`: the log
//!
//! The engine and the control port are in the library.

#![forbid(unsafe_code)]

mod client;
mod commands;
mod logging;
mod settings;

use std::process::ExitCode;

use clap::{Args as _, Command, FromArgMatches as _};

use commands::Failure;
use commands::publish::PublishArgs;
use commands::subscribe::SubscribeArgs;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(sentence)) => {
            eprintln!("fanfare: {sentence}");
            ExitCode::from(2)
        }
        Err(Failure::Runtime(sentence)) => {
            eprintln!("fanfare: {sentence}");
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
    }
}

fn run() -> Result<(), Failure> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("pub", args)) => {
            settings::check_variables().map_err(Failure::usage)?;
            commands::publish::run(&PublishArgs::from_arg_matches(args).unwrap_or_else(|error| error.exit()))
        }
        Some(("sub", args)) => {
            settings::check_variables().map_err(Failure::usage)?;
            commands::subscribe::run(
                &SubscribeArgs::from_arg_matches(args).unwrap_or_else(|error| error.exit()),
            )
        }
        Some(("doctor", flags)) => commands::doctor::run(flags),
        Some((_, flags)) => commands::serve::run(flags),
        None => commands::serve::run(&matches),
    }
}

/// The command line. Without a command the flags are those of `serve`.
fn command() -> Command {
    let serve = settings::add_flags(Command::new("serve"));
    let doctor = settings::add_flags(Command::new("doctor"));
    settings::add_flags(Command::new("fanfare"))
        .mut_args(|arg| arg.hide(true))
        .version(env!("CARGO_PKG_VERSION"))
        .about("A WebSocket broadcast engine: what is published to a topic reaches all of its subscribers, in order")
        .after_help("Without a command it serves; `fanfare serve --help` lists the flags.")
        .override_usage("fanfare [FLAGS OF serve]\n       fanfare <COMMAND>")
        .args_conflicts_with_subcommands(true)
        .subcommands([
            serve.about("Start the engine"),
            PublishArgs::augment_args(Command::new("pub"))
                .about("Publish to a topic: a line of standard input is a message"),
            SubscribeArgs::augment_args(Command::new("sub"))
                .about("Print the messages of topics as they come, one a line"),
            doctor.about("Say what this kernel and these limits allow, and the remedy for each lack"),
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        for line in [&["fanfare", "--shards", "2"][..], &["fanfare", "serve", "--shards=2"]] {
            let matches = command().try_get_matches_from(line).expect("a valid line");
            let flags = matches.subcommand().map_or(&matches, |(_, flags)| flags);
            assert_eq!(flags.get_one::<usize>("shards"), Some(&2));
        }
    }
}
