//! The stock clients of the table: what each is called, and how its program is started.
//!
//! Versions are named here and in the manifests below `interop/`, nowhere else.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolbox;

/// Java's two versions, each with a class path of its own.
const JAVA: [&str; 2] = ["4.9.8", "5.4.0"];

/// How a client's program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A version, and whether headers are sent in RocketMQ's binary form.
    Java(&'static str, bool),
    /// Built into one binary.
    Go,
    /// Run by node.
    Node,
    /// Run by the interpreter of a virtual environment.
    Python,
}

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Heading of the column.
    pub(super) name: &'static str,
    /// How it is started, and so what has to be installed.
    pub(super) program: Program,
}

/// Every column, slowest first, so that two lanes end together.
pub(super) const CLIENTS: [Client; 7] = [
    Client { name: "java-5.4.0", program: Program::Java(JAVA[1], false) },
    Client { name: "java-5.4.0-binary", program: Program::Java(JAVA[1], true) },
    Client { name: "java-4.9.8", program: Program::Java(JAVA[0], false) },
    Client { name: "java-4.9.8-binary", program: Program::Java(JAVA[0], true) },
    Client { name: "go-2.1.2", program: Program::Go },
    Client { name: "node-ali-ons-3.12.0", program: Program::Node },
    Client { name: "python-rocketmq-0.4.4", program: Program::Python },
];

/// The two that make load for the kill test.
pub(super) const LOADERS: [Client; 2] = [CLIENTS[0], CLIENTS[4]];

/// The rows of the table.
pub(super) const FEATURES: [&str; 21] = [
    "sync",
    "async",
    "one-way",
    "batch",
    "body-100B",
    "body-2KiB",
    "body-4MiB",
    "body-5MiB",
    "compressed",
    "tags",
    "keys",
    "properties",
    "push-cluster",
    "push-broadcast",
    "rebalance",
    "pull",
    "from-first",
    "from-last",
    "from-timestamp",
    "offsets-kill",
    "two-shards",
];

/// What a client's program is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    /// Address of the name server.
    pub(super) namesrv: &'a str,
    /// First part of every topic and group.
    pub(super) prefix: &'a str,
    /// `all`, `load` or `verify`.
    pub(super) feature: &'a str,
    /// File of acknowledged keys, for the last two.
    pub(super) journal: Option<&'a Path>,
}

impl Client {
    /// The command line; `home` takes the client's logs and the offsets it keeps in files.
    pub(super) fn command(&self, task: Task<'_>, home: &Path) -> Result<Command, String> {
        let mut command = match self.program {
            Program::Java(version, binary) => java(version, binary, home)?,
            Program::Go => Command::new(cache().join("go/interop")),
            Program::Node => {
                let mut node = Command::new("node");
                node.arg(folder("node").join("main.js"));
                node
            }
            Program::Python => {
                let mut python = Command::new(cache().join("python/bin/python"));
                // No compiled files beside the sources.
                python.arg("-B").arg(folder("python").join("main.py"));
                python
            }
        };
        command.env("HOME", home).current_dir(home);
        command.args(["--namesrv", task.namesrv, "--prefix", task.prefix]);
        command.args(["--feature", task.feature]);
        if let Some(journal) = task.journal {
            command.arg("--journal").arg(journal);
        }
        Ok(command)
    }

    /// Whether its virtual machine is Java's.
    pub(super) fn is_java(&self) -> bool {
        matches!(self.program, Program::Java(..))
    }
}

fn java(version: &str, binary: bool, home: &Path) -> Result<Command, String> {
    let mut java = Command::new("java");
    java.args(["-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg(format!("-Duser.home={}", home.display()));
    if binary {
        java.arg("-Drocketmq.serialize.type=ROCKETMQ");
    }
    java.arg("-cp").arg(class_path(version)?).arg("Main");
    Ok(java)
}

/// The compiled programs and every jar of one version.
pub(super) fn class_path(version: &str) -> Result<std::ffi::OsString, String> {
    let mut paths = vec![classes(version)];
    let jars = jars(version);
    let entries =
        std::fs::read_dir(&jars).map_err(|error| format!("{}: {error}", jars.display()))?;
    for entry in entries {
        paths.push(entry.map_err(|error| format!("{}: {error}", jars.display()))?.path());
    }
    paths.sort();
    std::env::join_paths(paths).map_err(|error| error.to_string())
}

/// Where the jars of one Java version lie.
pub(super) fn jars(version: &str) -> PathBuf {
    folder("java").join(format!("lib-{version}"))
}

/// Where the classes compiled against it lie.
pub(super) fn classes(version: &str) -> PathBuf {
    folder("java").join(format!("target/classes-{version}"))
}

/// A folder below `interop/`.
pub(super) fn folder(name: &str) -> PathBuf {
    toolbox::root().join("interop").join(name)
}

/// What is installed and not a library of Java or Node.
pub(super) fn cache() -> PathBuf {
    folder(".cache")
}
