//! Who gets in, and how much they may ask of the server: the sockets that it serves on, tokens, and limits for
//! clients that are slow, silent or many. What is answered is `http/`'s.
//!
//! Over a UNIX socket the permissions of the file decide. Over TCP everybody on this machine may ask, or, once there
//! is a file of tokens, whoever has one; without that file no other address than the loopback's is served.

mod door;
mod gate;
mod pace;
mod serve;
pub mod token;

pub use door::{Door, DoorError, doors};
pub use serve::serve;
