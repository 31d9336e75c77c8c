//! The vocabulary of modeltap: what a connection, a request, a container and
//! a rollup are, and how time is told.
//!
//! It knows no file, socket, clock or serialization. Every other crate speaks
//! in these types, and none of them derives serde: the wire has types of its
//! own (`api-types`), so that a name on the wire never binds a name here.
#![forbid(unsafe_code)]

pub mod accounting;
pub mod alert;
pub mod connection;
pub mod container;
pub mod exemplar;
pub mod histogram;
pub mod history;
pub mod measure;
pub mod record;
pub mod recording;
pub mod resource;
pub mod rollup;
pub mod time;
pub mod time_buckets;
pub mod timeline;
pub mod totals;
