//! What the table tells of observed connections: whole conversations, losses,
//! and properties that hold for any input.

mod accounts;
mod conversations;
mod endings;
mod inspection;
mod losses;
mod network;
mod properties;
mod servers;
mod sessions;
mod streams;
mod support;
