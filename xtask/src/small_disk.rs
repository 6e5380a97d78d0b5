//! A small disk: an image file behind a loop device, with ext4 on it, mounted.
//!
//! It needs root. Dropping it unmounts, detaches and removes, whatever happened in between; a step
//! that fails is told, because a left loop device is a trap for the next run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolbox;

/// The mounted disk.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    mount: PathBuf,
    device: Option<String>,
    mounted: bool,
}

impl SmallDisk {
    /// Makes and mounts a disk of `bytes`, in a folder named after `name` and this process.
    pub fn new(name: &str, bytes: u64) -> Result<SmallDisk, String> {
        let folder = toolbox::target().join(format!("xtask/{name}-{}", std::process::id()));
        let (image, mount) = (folder.join("disk.img"), folder.join("mount"));
        std::fs::create_dir_all(&mount).map_err(|error| format!("{}: {error}", mount.display()))?;
        let mut disk = SmallDisk { folder, mount, device: None, mounted: false };
        let file = File::create(&image).map_err(|error| format!("{}: {error}", image.display()))?;
        file.set_len(bytes).map_err(|error| format!("{}: {error}", image.display()))?;
        toolbox::run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        let device = said(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        disk.device = Some(device.clone());
        toolbox::run(Command::new("mount").arg(&device).arg(&disk.mount))?;
        disk.mounted = true;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Name of its block device, such as `loop0`.
    #[must_use]
    pub fn device(&self) -> &str {
        self.device.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or_default()
    }

    /// A folder beside it, for what must not lie on it; it goes with the disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops every write to it until the guard is dropped: a device that takes nothing.
    pub fn freeze(&self) -> Result<Frozen, String> {
        toolbox::run(Command::new("fsfreeze").arg("--freeze").arg(&self.mount))?;
        Ok(Frozen { mount: self.mount.clone() })
    }

    /// Bytes that may still be used.
    pub fn free_bytes(&self) -> Result<u64, String> {
        let words = said(Command::new("df").args(["--output=avail", "-B1"]).arg(&self.mount))?;
        let number = words.lines().last().and_then(|line| line.trim().parse().ok());
        number.ok_or_else(|| format!("df said {words}"))
    }
}

/// A frozen disk. Dropping it lets writes go on.
#[derive(Debug)]
pub struct Frozen {
    mount: PathBuf,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        tell(toolbox::run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mount)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            tell(toolbox::run(Command::new("umount").arg(&self.mount)));
        }
        if let Some(device) = &self.device {
            tell(toolbox::run(Command::new("losetup").args(["--detach", device])));
        }
        let removed = std::fs::remove_dir_all(&self.folder);
        tell(removed.map_err(|error| format!("{}: {error}", self.folder.display())));
    }
}

fn tell(outcome: Result<(), String>) {
    if let Err(why) = outcome {
        eprintln!("small disk: {why}");
    }
}

/// Runs a program and gives what it said.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {why}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
