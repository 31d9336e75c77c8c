//! Parts that pages are made of.

pub mod accounts;
pub mod alerts;
pub mod banner;
pub mod bar;
pub mod chart;
pub mod figures;
pub mod header;
pub mod heatmap;
pub mod help;
pub mod keys;
pub mod list;
pub mod marks;
pub mod parts;
pub mod range;
pub mod request_detail;
pub mod request_row;
pub mod rule_form;
pub mod rule_preview;
pub mod sparkline;
