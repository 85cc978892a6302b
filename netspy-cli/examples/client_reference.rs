//! Not an example: writes the client's man pages and completions for `cargo xtask dist`.

#[path = "../../xtask/src/dist/reference.rs"]
mod reference;

fn main() -> std::io::Result<()> {
    reference::write(netspy_cli::command_line())
}
