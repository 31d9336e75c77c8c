//! Rules evaluated: which alerts there are, second by second.
//!
//! Pure like the rest of the crate: the second and its figures are arguments.
//! Every window, minute and rule of a service takes bounded room, and services
//! times rules are bounded.

mod defaults;
mod engine;
mod figure;
mod minutes;
mod pending;
mod preview;
mod seasonal;
mod state;
mod summary;
mod watch;
mod window;

pub use defaults::{default_rule, default_rules, slo_rules};
pub use engine::{Engine, EngineStats, Wanted};
pub use pending::PendingRows;
pub use preview::{Preview, preview};
