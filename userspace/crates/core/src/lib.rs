//! The vocabulary of modeltap: what a connection, a request, a container and
//! a rollup are, and how time is told.
//!
//! It knows no file, socket, clock or serialization. Every other crate speaks
//! in these types, and none of them derives serde: the wire has types of its
//! own (`api-types`), so that a name on the wire never binds a name here.
#![forbid(unsafe_code)]

pub mod accounting;
pub mod connection;
pub mod container;
pub mod histogram;
pub mod measure;
pub mod record;
pub mod recording;
pub mod rollup;
pub mod time;
pub mod time_buckets;
pub mod totals;
