//! The pages.

pub mod alert_notifiers;
pub mod alert_rules;
pub mod alert_silences;
pub mod alerts;
pub mod not_found;
pub mod overview;
pub mod requests;
pub mod service;
pub mod service_accounts;
pub mod service_charts;
pub mod service_history;
pub mod service_streams;
pub mod service_tables;
pub mod service_time;
pub mod system;
pub mod system_accounts;
