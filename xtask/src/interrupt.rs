//! An orderly end at Ctrl-C and at SIGTERM.
//!
//! Containers and a Docker engine outlive the process that started them, so
//! an interrupt must lead through the code that removes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

/// Says whether the user asked for an end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to watch for signals; from here on the first
    /// ends nothing by itself.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn watch() -> Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one is for whoever cannot wait.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&raised))?;
            signal_hook::flag::register(signal, Arc::clone(&raised))?;
        }
        Ok(Self(raised))
    }

    /// Says whether an end was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends what is going on where that was asked for.
    ///
    /// # Errors
    /// When it was.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }
}
