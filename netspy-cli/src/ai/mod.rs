//! Asking a model: what may leave the machine, how it is asked, and what its answer is worth. The only place
//! that knows async-openai.
//!
//! The model explains, rules decide. It is asked nothing before somebody has configured it, it is told
//! pseudonyms instead of names, and it can use nothing but tools that read.

mod audit;
mod conversation;
mod file;
mod model;
mod pseudonym;
mod reply;
mod settings;
mod vocabulary;

pub(crate) use conversation::{Ability, Talk, Told, explain, investigate};
pub(crate) use file::File;
pub(crate) use settings::{AiFlags, Settings};
