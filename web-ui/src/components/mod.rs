//! Parts that pages are made of.

pub mod accounts;
pub mod banner;
pub mod bar;
pub mod chart;
pub mod figures;
pub mod header;
pub mod parts;
pub mod range;
pub mod request_detail;
pub mod request_row;
pub mod sparkline;
