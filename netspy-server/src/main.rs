//! x
mod domain;
fn main() {}
