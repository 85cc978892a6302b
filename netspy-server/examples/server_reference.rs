//! Not an example: writes the server's man pages and completions for `cargo xtask dist`.

#[path = "../../xtask/src/dist/reference.rs"]
mod reference;

fn main() -> std::io::Result<()> {
    reference::write(netspy_server::config::command_line())
}
