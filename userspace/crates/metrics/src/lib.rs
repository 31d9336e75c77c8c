//! Requests in; series, live figures and exact totals out.
//!
//! It knows no clock, file, socket, log or task: time is an argument, and what
//! it could not keep is counted. It does not know where requests come from,
//! nor who reads its figures.
//!
//! Invariants:
//! - Every recorded request is in exactly one rollup, and the rollups of a
//!   series add up to its total since the start.
//! - Requests over UNIX sockets and upgraded connections are in no figure of
//!   the requests: what a proxy passes on would be counted twice, and a
//!   session is none.
//! - A percentile is that of the merged histograms, never an average.
//! - Memory is bounded whatever containers send: 200 routes a service, 2,000
//!   series a service, 10,000 in all; the rest is counted under `_other`.
//! - Counts outlive their container by an hour without requests, so that no
//!   exported counter loses its last increments; then they are forgotten, and
//!   a service without containers with them.
#![forbid(unsafe_code)]

mod accounts;
mod aggregator;
pub mod alert;
mod exemplars;
mod facts;
mod hop;
mod inference;
mod live;
mod pulse;
mod recent;
mod resources;
mod route;
mod series;
mod service;
mod slice;
mod sliding;
mod template;
pub mod why;
mod window;

pub use accounts::{CgroupReport, reports};
pub use aggregator::{Aggregator, Config, Stats};
pub use live::{
    ContainerSnapshot, InnerSnapshot, LiveSnapshot, RouteSnapshot, RouteTotal, SecondFigures,
    ServiceSnapshot, SessionSnapshot, StreamWindow, TimeParts, WindowFigures,
};
pub use recent::FinishedRequest;
pub use resources::ResourceSnapshot;
pub use template::OTHER as OTHER_ROUTE;
