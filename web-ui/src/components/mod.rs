//! Parts that pages are made of.

pub mod banner;
pub mod chart;
pub mod figures;
pub mod header;
pub mod range;
pub mod request_row;
pub mod sparkline;
