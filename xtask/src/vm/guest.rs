//! One guest: booted, asked one command, gone.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::kernels::Kernel;
use crate::process;

/// What an emulated guest takes at most; a busy machine needs some of it.
const LIMIT: Duration = Duration::from_secs(300);
/// The same where it counts instructions, on one processor.
const COUNTING_LIMIT: Duration = Duration::from_secs(1_500);
const MEMORY: &str = "2048";
/// What a guest needs to reach this machine's files.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
const INIT: &str = include_str!("init.sh");

/// What a command printed, and its exit code; none if the guest gave none.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code.
    pub code: Option<i32>,
    /// Both outputs.
    pub output: String,
}

impl Answer {
    /// The last line that says something.
    pub fn last_line(&self) -> &str {
        let last = self.output.lines().rfind(|line| !line.trim().is_empty());
        last.unwrap_or("the guest said nothing")
    }
}

/// What a guest's clock follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Time,
    Instructions,
}

/// A guest that is ready to be booted.
pub struct Guest<'a> {
    kernel: &'a Kernel,
    share: &'a Path,
    ground: TempDir,
    clock: Clock,
}

impl<'a> Guest<'a> {
    /// Packs what the kernel begins with. `share` is what the guest may write.
    ///
    /// # Errors
    /// When a module is missing or a tool fails.
    pub fn new(kernel: &'a Kernel, share: &'a Path) -> Result<Self> {
        let ground = tempfile::tempdir().context("make a guest's folder")?;
        let root = ground.path().join("root");
        for folder in ["bin", "dev", "modules", "proc", "sys"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let busybox = process::output(Command::new("which").arg("busybox"))?;
        fs::copy(busybox.trim(), root.join("bin/busybox"))?;
        fs::write(root.join("init"), INIT)?;
        process::run(Command::new("chmod").arg("755").arg(root.join("init")))?;
        let mut order = String::new();
        for file in modules(kernel)? {
            order += &unpacked(Path::new(&file), &root.join("modules"))?;
            order.push('\n');
        }
        fs::write(root.join("modules/order"), order)?;
        let pack = "find . | cpio --quiet --create --format=newc > ../initrd";
        process::run(Command::new("sh").args(["-c", pack]).current_dir(&root))?;
        Ok(Self {
            kernel,
            share,
            ground,
            clock: Clock::Time,
        })
    }

    /// Has the clock advance by one nanosecond an instruction, on one
    /// processor: what a task used of it is what it executed, whatever else
    /// this machine does.
    pub fn counting_instructions(mut self) -> Self {
        self.clock = Clock::Instructions;
        self
    }

    /// Boots the guest, runs `command` in the shared folder and waits for the
    /// guest's end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, command: &str) -> Result<Answer> {
        let script = format!("{command} > output 2>&1\necho $? > code\n");
        fs::write(self.share.join("command"), script)?;
        for left in ["output", "code"] {
            let _ = fs::remove_file(self.share.join(left));
        }
        let share = self.share.display();
        let mut emulator = Command::new("qemu-system-x86_64");
        let limit = match self.clock {
            Clock::Time => {
                emulator.args(["-accel", "tcg,thread=multi", "-smp", "2"]);
                LIMIT
            }
            Clock::Instructions => {
                emulator.args(["-accel", "tcg,thread=single", "-smp", "1"]);
                emulator.args(["-icount", "shift=0,sleep=off"]);
                COUNTING_LIMIT
            }
        };
        emulator
            .args(["-cpu", "max", "-m", MEMORY, "-nographic", "-nodefaults"])
            .args(["-no-reboot", "-serial", "stdio", "-append"])
            // Interrupts count for the task that they interrupt.
            .arg("console=ttyS0 quiet panic=-1 mitigations=off tsc=noirqtime")
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.ground.path().join("initrd"))
            .arg("-virtfs")
            .arg("local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap")
            .arg("-virtfs")
            .arg(format!(
                "local,path={share},mount_tag=share,security_model=none"
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut child = emulator.spawn().context("start an emulated guest")?;
        if process::wait_until(&mut child, Instant::now() + limit).is_none() {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "the guest with {} did not end within {limit:?}",
                self.kernel.version
            );
        }
        let code = fs::read_to_string(self.share.join("code")).unwrap_or_default();
        Ok(Answer {
            code: code.trim().parse().ok(),
            output: fs::read_to_string(self.share.join("output")).unwrap_or_default(),
        })
    }
}

/// Files of the modules, what one depends on before it.
fn modules(kernel: &Kernel) -> Result<Vec<String>> {
    let base = &kernel.base;
    if !base
        .join("lib/modules")
        .join(&kernel.version)
        .join("modules.dep")
        .is_file()
    {
        let mut depmod = Command::new("depmod");
        depmod.arg("-b").arg(base).arg(&kernel.version);
        // It misses lists that serve other purposes.
        process::run(depmod.stderr(Stdio::null())).context("list a kernel's modules")?;
    }
    let mut files: Vec<String> = Vec::new();
    for module in MODULES {
        let mut needs = Command::new("modprobe");
        needs.arg("-d").arg(base).args(["-S", &kernel.version]);
        needs.args(["--show-depends", module]);
        let needs = process::output(&mut needs)
            .with_context(|| format!("{} has no module {module}", kernel.version))?;
        for line in needs.lines() {
            let file = line.strip_prefix("insmod ").map(str::trim);
            if let Some(file) = file
                && !files.iter().any(|known| known == file)
            {
                files.push(file.to_owned());
            }
        }
    }
    Ok(files)
}

/// Puts a module into a folder as the kernel reads it; returns its name.
fn unpacked(file: &Path, folder: &Path) -> Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (program, name) = match name.rsplit_once('.') {
        Some((name, "xz")) => ("xz", name.to_owned()),
        Some((name, "zst")) => ("zstd", name.to_owned()),
        _ => ("cat", name.into_owned()),
    };
    let mut unpack = Command::new(program);
    if program != "cat" {
        unpack.arg("-dc");
    }
    let to = fs::File::create(folder.join(&name))?;
    process::run(unpack.arg(file).stdout(to)).with_context(|| format!("unpack {file:?}"))?;
    Ok(name)
}
