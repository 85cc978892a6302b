//! A program's man pages and shell completions, from its own command line. Each program's example `reference` has
//! this file as a module, so that the job runner need not be built with both programs in it.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// Writes `man/*.1` and `completions/*` below the directory that the command line names.
pub(crate) fn write(mut program: Command) -> io::Result<()> {
    let out = PathBuf::from(std::env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?);
    let (man, completions) = (out.join("man"), out.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let name = program.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut program, &name, &completions)?;
    }
    program = program.disable_help_subcommand(true);
    program.build();
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let page = format!("{name}-{}", command.get_name());
        Man::new(command.clone()).title(&page).render(&mut File::create(man.join(format!("{page}.1")))?)?;
    }
    Man::new(program).render(&mut File::create(man.join(format!("{name}.1")))?)
}
