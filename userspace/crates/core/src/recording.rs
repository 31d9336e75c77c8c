//! `.mtap` recordings (written below).
