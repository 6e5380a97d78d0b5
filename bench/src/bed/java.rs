//! Java RocketMQ as a peer: its jars by Maven, its broker's command line.
//!
//! The jars are those of Maven Central, resolved once into a cache outside the repository
//! (`$WEIR_BENCH_CACHE`, else the user's cache directory). The collector and the heap are set by
//! hand and told in the report: on one core the JVM would choose others than on a server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

/// The version that is compared with.
pub(crate) const VERSION: &str = "5.4.0";

/// How Java runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct JavaArgs {
    /// Class path of RocketMQ's broker; without it Maven fetches 5.4.0 into a cache.
    #[arg(long)]
    pub java_classpath: Option<String>,
    /// Heap of the Java broker, MiB (as much again may be used outside of the heap).
    #[arg(long, default_value_t = 2048,
          value_parser = clap::value_parser!(u32).range(256..=262_144))]
    pub java_heap: u32,
    /// Collector of the Java broker, as in -XX:+Use…GC (RocketMQ's own start script: G1).
    #[arg(long, default_value = "G1",
          value_parser = ["G1", "Z", "Serial", "Parallel", "Shenandoah"])]
    pub java_collector: String,
}

impl JavaArgs {
    /// The class path, fetched when it was not given.
    pub(crate) fn classpath(&self) -> io::Result<String> {
        if let Some(given) = &self.java_classpath {
            return Ok(given.clone());
        }
        let dir = cache()?.join(format!("rocketmq-{VERSION}"));
        let jars = dir.join("lib");
        if !dir.join("complete").exists() {
            fetch(&dir, &jars)?;
            fs::write(dir.join("complete"), VERSION)?;
        }
        Ok(format!("{}/*", jars.display()))
    }

    /// The words of the command that starts a broker.
    pub(super) fn command(&self, command: &mut Command, classpath: &str, dir: &Path) {
        let unnamed = "ALL-UNNAMED";
        let heap = self.java_heap;
        command
            .arg("java")
            .args(["-server", &format!("-Xms{heap}m"), &format!("-Xmx{heap}m")])
            .arg(format!("-XX:MaxDirectMemorySize={heap}m"))
            .arg(format!("-XX:+Use{}GC", self.java_collector))
            .arg(format!("-Xlog:gc:file={}:uptime", dir.join("gc.log").display()))
            .args(["--add-exports", &format!("java.base/jdk.internal.ref={unnamed}")])
            .args(["--add-exports", &format!("java.base/sun.nio.ch={unnamed}")])
            .args(["--add-opens", &format!("java.base/sun.nio.ch={unnamed}")])
            .args(["--add-opens", &format!("java.base/java.nio={unnamed}")])
            .arg(format!("-Duser.home={}", dir.display()))
            .args(["-cp", classpath])
            .args(["org.apache.rocketmq.broker.BrokerStartup", "-c"])
            .arg(dir.join("broker.conf"))
            .env("ROCKETMQ_HOME", dir);
    }
}

/// Pauses of the collector so far: how many, and milliseconds together and longest.
pub(super) fn pauses(dir: &Path) -> (usize, f64, f64) {
    let text = fs::read_to_string(dir.join("gc.log")).unwrap_or_default();
    let pauses: Vec<f64> = text
        .lines()
        .filter(|line| line.contains("Pause"))
        .filter_map(|line| line.trim_end().strip_suffix("ms")?.rsplit(' ').next()?.parse().ok())
        .collect();
    (pauses.len(), pauses.iter().sum(), pauses.iter().copied().fold(0.0, f64::max))
}

/// The broker's configuration file.
pub(super) fn write_config(dir: &Path, port: u16, sync: bool) -> io::Result<()> {
    let flush = if sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    fs::write(
        dir.join("broker.conf"),
        format!(
            "brokerClusterName=bench\nbrokerName=bench\nbrokerId=0\nlistenPort={port}\n\
             brokerIP1=127.0.0.1\nflushDiskType={flush}\nbrokerRole=ASYNC_MASTER\n\
             autoCreateTopicEnable=true\nstorePathRootDir={}\n",
            dir.join("store").display()
        ),
    )
}

fn cache() -> io::Result<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(given) = var("WEIR_BENCH_CACHE") {
        return Ok(given);
    }
    let user = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let user = user.ok_or_else(|| io::Error::other("no HOME: set WEIR_BENCH_CACHE"))?;
    Ok(user.join("weir-bench"))
}

fn fetch(dir: &Path, jars: &Path) -> io::Result<()> {
    eprintln!("fetching RocketMQ {VERSION} by Maven into {} (once)", dir.display());
    fs::create_dir_all(dir)?;
    let dependency = |name: &str| {
        format!(
            "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>{name}</artifactId>\
             <version>{VERSION}</version></dependency>"
        )
    };
    fs::write(
        dir.join("pom.xml"),
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\
             <modelVersion>4.0.0</modelVersion><groupId>weir</groupId>\
             <artifactId>peer</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{}{}</dependencies></project>\n",
            dependency("rocketmq-broker"),
            dependency("rocketmq-namesrv")
        ),
    )?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(dir.join("pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .map_err(|error| {
            io::Error::other(format!(
                "mvn cannot be started ({error}): install Maven, or give --java-classpath"
            ))
        })?;
    if output.status.success() {
        return Ok(());
    }
    fs::remove_dir_all(dir)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(io::Error::other(format!("Maven could not resolve RocketMQ {VERSION}: {}", said.trim())))
}
