//! Installs the stock clients at the versions of their manifests, into folders git ignores.
//!
//! Each part leaves a stamp with the text of its manifest and sources; while that agrees, nothing
//! is done. A part that cannot be installed is an error, never a feature left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::{Client, Program, cache, class_path, classes, folder, jars};
use crate::toolbox;

/// Version of the name server.
const NAMESRV: &str = "5.4.0";

/// Makes the programs of these clients startable.
pub(super) fn all(clients: &[Client]) -> Result<(), String> {
    make(&cache())?;
    for client in clients {
        match client.program {
            Program::Java(version, _) => java(version)?,
            Program::Go => go()?,
            Program::Node => part("node", &["node/package.json", "node/package-lock.json"], node)?,
            Program::Python => part("python", &["python/requirements.txt"], python)?,
        }
    }
    Ok(())
}

fn java(version: &str) -> Result<(), String> {
    part(&format!("java-{version}"), &["java/pom.xml"], || java_jars(version))?;
    let sources = java_sources()?;
    let names: Vec<&str> = sources.iter().map(String::as_str).collect();
    part(&format!("classes-{version}"), &names, || java_classes(version, &names))
}

/// Runs `install` unless the stamp of `name` holds the same text as the files do now.
fn part(
    name: &str,
    files: &[&str],
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let stamp = cache().join(format!("{name}.stamp"));
    let mut wanted = Vec::new();
    for file in files {
        let path = folder(file);
        wanted
            .extend(std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("interop: installing {name}");
    install().map_err(|why| format!("{name} cannot be installed: {why}"))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn java_jars(version: &str) -> Result<(), String> {
    fetch("java", version, &jars(version))
}

/// Makes the Java name server of [`NAMESRV`] startable; gives the folder of its jars.
pub(crate) fn name_server() -> Result<PathBuf, String> {
    make(&cache())?;
    let jars = folder("java").join(format!("lib-namesrv-{NAMESRV}"));
    let name = format!("namesrv-{NAMESRV}");
    part(&name, &["namesrv/pom.xml"], || fetch("namesrv", NAMESRV, &jars))?;
    Ok(jars)
}

/// Has Maven put what the manifest in a folder names, and all it needs, into `to`.
fn fetch(manifest: &str, version: &str, to: &PathBuf) -> Result<(), String> {
    fresh(to)?;
    toolbox::run(
        Command::new("mvn")
            .args([
                "-q",
                "-B",
                "-Dstyle.color=never",
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
            ])
            .arg(format!("-Drocketmq.version={version}"))
            .arg(format!("-DoutputDirectory={}", to.display()))
            .current_dir(folder(manifest)),
    )
}

/// The sources, below `interop/`, sorted.
fn java_sources() -> Result<Vec<String>, String> {
    let source = folder("java/src");
    let entries =
        std::fs::read_dir(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| format!("java/src/{}", entry.file_name().to_string_lossy()))
        .collect();
    names.sort();
    Ok(names)
}

fn java_classes(version: &str, sources: &[&str]) -> Result<(), String> {
    let to = classes(version);
    fresh(&to)?;
    toolbox::run(
        Command::new("javac")
            .args(["-nowarn", "-XDsuppressNotes", "-encoding", "UTF-8", "-d"])
            .arg(&to)
            .arg("-cp")
            .arg(class_path(version)?)
            .args(sources.iter().map(|source| folder(source))),
    )
}

/// Go knows by itself what is up to date; `go.sum` pins every module.
fn go() -> Result<(), String> {
    toolbox::run(
        Command::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(cache().join("go/interop"))
            .arg(".")
            .current_dir(folder("go")),
    )
}

fn node() -> Result<(), String> {
    toolbox::run(
        Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(folder("node")),
    )
}

fn python() -> Result<(), String> {
    let home = cache().join("python");
    fresh(&home)?;
    toolbox::run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    toolbox::run(
        Command::new(home.join("bin/pip"))
            .args(["install", "--quiet", "--no-deps", "--requirement"])
            .arg(folder("python/requirements.txt")),
    )
}

fn make(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn fresh(path: &PathBuf) -> Result<(), String> {
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    make(path)
}
