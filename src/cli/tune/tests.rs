//! Check, apply and undo against copied trees, with a small model of what a kernel does to a write.
//!
//! Nothing here touches the machine's own settings: every path lies below a folder of the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

use super::apply::{Outcome, apply, undo};
use super::catalogue::{Change, catalogue};
use super::command::root_only;
use super::facts::{Facts, cores, list};
use super::judge::{State, judge};
use super::saved::{self, APPLIED, Saved, TRIED};
use super::script::script;
use super::tree::{Tree, chosen};
use super::trial::{Side, Trials};
use crate::exit;

const EIO: i32 = 5;
const EINVAL: i32 = 22;

/// A box with a partition of one disk, two interrupts and all that the catalogue speaks of.
const FILES: &[(&str, &str)] = &[
    ("proc/meminfo", "MemTotal:       24684056 kB\nMemAvailable:   20000000 kB\n"),
    ("proc/self/mountinfo", MOUNTS),
    ("proc/self/limits", LIMITS),
    ("proc/sys/kernel/random/boot_id", "boot-1\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/kernel/numa_balancing", "1\n"),
    ("proc/sys/vm/min_free_kbytes", "67584\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/sys/vm/max_map_count", "65530\n"),
    ("proc/sys/vm/zone_reclaim_mode", "0\n"),
    ("proc/sys/vm/dirty_bytes", "0\n"),
    ("proc/sys/vm/dirty_ratio", "20\n"),
    ("proc/sys/vm/dirty_background_bytes", "0\n"),
    ("proc/sys/vm/dirty_background_ratio", "10\n"),
    ("proc/sys/vm/dirty_writeback_centisecs", "360000\n"),
    ("proc/sys/vm/nr_hugepages", "0\n"),
    ("proc/sys/net/core/somaxconn", "128\n"),
    ("proc/irq/24/smp_affinity_list", "0-3\n"),
    ("proc/irq/24/virtio0-req/x", ""),
    ("proc/irq/25/smp_affinity_list", "0-3\n"),
    ("proc/irq/25/eth0-rx/x", ""),
    ("proc/irq/26/smp_affinity_list", "0-3\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/kernel/mm/transparent_hugepage/defrag", DEFRAG),
    ("sys/block/sda/queue/scheduler", "[none] mq-deadline kyber bfq\n"),
    ("sys/block/sda/queue/nr_requests", "256\n"),
    ("sys/block/sda/queue/wbt_lat_usec", "0\n"),
    ("sys/block/sda/queue/read_ahead_kb", "8192\n"),
    ("sys/block/sda/queue/write_cache", "write back\n"),
    ("sys/block/sda/queue/fua", "0\n"),
    ("sys/block/sda/sda1/partition", "1\n"),
];
const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard\n\
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw\n";
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units\n\
Max open files            1024                 524288               files\n\
Max locked memory         unlimited            unlimited            bytes\n";
const DEFRAG: &str = "always defer defer+madvise [madvise] never\n";

/// A folder with a copied tree, removed at the end.
struct Fake {
    folder: PathBuf,
    tree: Tree,
}

impl Fake {
    fn new(name: &str, files: &[(&str, &str)]) -> Fake {
        let folder = std::env::temp_dir().join(format!("weir-tune-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        let mut tree = Tree::new(&folder);
        tree.kernel = Some(kernel);
        Fake { folder, tree }
    }

    fn whole(name: &str) -> Fake {
        let fake = Fake::new(name, FILES);
        fake.link("sys/dev/block/8:1", "../../block/sda/sda1");
        fake
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, path).unwrap();
    }

    fn facts(&self) -> Facts {
        Facts {
            shard_cores: vec![1, 2, 3],
            spare_cores: vec![0],
            arena_bytes: 46 << 20,
            ..Facts::read(&self.tree, Path::new("/var/lib/weir"))
        }
    }

    fn states(&self) -> BTreeMap<String, State> {
        let (knobs, facts) = (catalogue().unwrap(), self.facts());
        let readings = judge(&knobs, &self.tree, &facts);
        readings.iter().map(|r| (format!("{} {}", r.knob.name, r.path), r.state)).collect()
    }

    fn apply(&self, huge_pages: bool) -> Vec<(String, Outcome)> {
        let (knobs, facts) = (catalogue().unwrap(), self.facts());
        let readings = judge(&knobs, &self.tree, &facts);
        let done = apply(&self.tree, &readings, &facts.boot, huge_pages).unwrap();
        done.into_iter().map(|done| (done.path, done.outcome)).collect()
    }

    fn undo(&self) -> Result<Vec<(String, Outcome)>, crate::exit::Stop> {
        let done = undo(&self.tree, &self.facts().boot)?;
        Ok(done.into_iter().map(|done| (done.path, done.outcome)).collect())
    }

    /// Every file below `proc` and `sys`, with its text.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.join("proc"), self.folder.join("sys")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if path.is_file() {
                    found.insert(path.clone(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }

    fn set(&self, path: &str, text: &str) {
        fs::write(self.folder.join(path), text).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a kernel does: words in brackets, bytes against ratios, schedulers that forget, interrupts
/// that are its own. Every write must be on disk, to be undone, before it is made.
fn kernel(tree: &Tree, path: &str, text: &str) -> Result<(), Error> {
    let kept = |file| fs::read_to_string(saved::path(tree, file)).unwrap_or_default();
    let saved = kept(APPLIED) + &kept(TRIED);
    assert!(saved.contains(path), "{path} was written before its old value was kept");
    let put = |path: &str, text: &str| fs::write(tree.at(path), format!("{text}\n"));
    let old = tree.text(path);
    if path.starts_with("proc/irq/24/") {
        return Err(Error::from_raw_os_error(EIO));
    }
    if let Some(head) = path.strip_suffix("_bytes") {
        if text == "0" {
            return Err(Error::from_raw_os_error(EINVAL));
        }
        put(&format!("{head}_ratio"), "0")?;
    } else if path.ends_with("_ratio") {
        put(&path.replace("_ratio", "_bytes"), "0")?;
    } else if old.contains('[') {
        let words: Vec<&str> = old.split([' ', '[', ']']).filter(|w| !w.is_empty()).collect();
        if !words.contains(&text) {
            return Err(Error::from_raw_os_error(EINVAL));
        }
        let word = |w: &&str| if *w == text { format!("[{w}]") } else { (*w).to_owned() };
        put(path, &words.iter().map(word).collect::<Vec<_>>().join(" "))?;
        if let Some(queue) = path.strip_suffix("scheduler") {
            put(&format!("{queue}nr_requests"), if text == "none" { "256" } else { "64" })?;
        }
        return Ok(());
    } else if path.ends_with("wbt_lat_usec") && text == "-1" {
        return put(path, "75000");
    } else if path.ends_with("nr_hugepages") {
        return put(path, &text.parse::<u64>().unwrap().min(10).to_string());
    }
    put(path, text)
}

#[test]
fn every_row_of_the_catalogue_is_whole() {
    let knobs = catalogue().unwrap();
    assert!(knobs.len() >= 25, "{}", knobs.len());
    for knob in &knobs {
        let effect = &knob.effect;
        let untried = effect.starts_with("not tried: ");
        let seen = effect == "none seen" || effect.starts_with("seen: ");
        assert!(untried || seen, "{}: {effect}", knob.name);
        assert_eq!(knob.worse.is_some(), !knob.loads.is_empty(), "{}", knob.name);
        assert!(knob.worse.is_some() || effect != "none seen", "{}: not looked for", knob.name);
        assert!(!knob.why.is_empty() && !knob.measured.is_empty(), "{}", knob.name);
        assert!(!knob.file.starts_with('/'), "{}: paths are below the root", knob.name);
        let told_only = knob.name.ends_with("write_cache") || knob.name.ends_with("fua");
        let by_hand = knob.change != Change::Apply && !told_only;
        assert_eq!(knob.mend.is_some(), by_hand, "{}", knob.name);
    }
    let page = super::tuning_page();
    assert!(knobs.iter().all(|knob| page.contains(&format!("| `{}` |", knob.name))));
}

#[test]
fn each_knob_is_judged_by_what_this_box_has() {
    let fake = Fake::whole("judge");
    let states = fake.states();
    let state = |name: &str| {
        let (_, state) = states.iter().find(|(key, _)| key.starts_with(name)).unwrap();
        *state
    };
    assert_eq!(state("vm.min_free_kbytes"), State::Differs);
    assert_eq!(state("vm.max_map_count"), State::Good);
    assert_eq!(state("vm.nr_hugepages"), State::Asked);
    assert_eq!(state("queue/scheduler"), State::Differs, "a SATA disk is sorted for");
    assert_eq!(state("queue/write_cache"), State::Good);
    assert_eq!(state("mount options"), State::ByHand);
    assert_eq!(state("memlock limit"), State::Good, "unlimited is enough");
    assert_eq!(state("open files limit"), State::Good, "the hard limit counts");
    assert_eq!(state("CPU governor"), State::NotHere);
    assert_eq!(state("fstrim.timer"), State::NotHere, "a disk without discard");
    assert_eq!(state("interrupts on shard cores proc/irq/25"), State::Differs);
    assert!(!states.keys().any(|key| key.contains("irq/26")), "nobody handles it");
}

#[test]
fn apply_twice_is_apply_once_and_undo_leaves_every_file_as_it_was() {
    let fake = Fake::whole("undo");
    let before = fake.snapshot();
    let first = fake.apply(true);
    let all_done = |(path, outcome): &(String, Outcome)| match outcome {
        Outcome::Set => true,
        Outcome::Became(now) => path.ends_with("nr_hugepages") && now == "10" || now == "75000",
        Outcome::Kept => path.starts_with("proc/irq/24/"),
        _ => false,
    };
    assert!(first.len() > 10 && first.iter().all(all_done), "{first:?}");
    let (after, kept) =
        (fake.snapshot(), fs::read_to_string(saved::path(&fake.tree, APPLIED)).unwrap());
    assert!(!kept.contains("irq/24"), "what the kernel kept needs no undo: {kept}");
    let second = fake.apply(false);
    assert!(second.iter().all(|(_, outcome)| *outcome == Outcome::Kept), "{second:?}");
    assert_eq!(fs::read_to_string(saved::path(&fake.tree, APPLIED)).unwrap(), kept);
    assert_eq!(fake.snapshot(), after);
    let back = fake.undo().unwrap();
    assert!(!back.iter().any(|(_, outcome)| matches!(outcome, Outcome::Refused(_))), "{back:?}");
    assert_eq!(fake.snapshot(), before);
    assert!(!saved::path(&fake.tree, APPLIED).exists());
}

#[test]
fn undo_without_apply_is_refused_and_names_the_file() {
    let fake = Fake::whole("refuse");
    let stop = fake.undo().unwrap_err();
    assert_eq!(stop.exit_code, exit::FAILED);
    assert!(stop.line.contains("nothing to undo") && stop.line.contains("saved.json"));
    fake.apply(false);
    fake.undo().unwrap();
    assert!(fake.undo().is_err(), "once is enough");
}

#[test]
fn a_box_without_any_knob_has_nothing_to_do_and_no_failure() {
    let fake = Fake::new("empty", &[]);
    assert!(fake.states().values().all(|state| *state == State::NotHere), "{:?}", fake.states());
    assert_eq!(fake.apply(true), []);
    assert!(fs::read_dir(&fake.folder).unwrap().next().is_none(), "nothing is created");
    assert!(fake.undo().is_err());
}

#[test]
fn a_refused_write_is_told_and_the_others_are_made() {
    let fake = Fake::whole("readonly");
    // A kernel without this word answers EINVAL.
    fake.set("sys/kernel/mm/transparent_hugepage/enabled", "[always] never\n");
    let done = fake.apply(false);
    let refused: Vec<_> =
        done.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_))).collect();
    assert!(matches!(refused[..], [(path, _)] if path.ends_with("enabled")), "{refused:?}");
    assert_eq!(fake.tree.text("proc/sys/vm/swappiness"), "1");
    let kept = Saved::load(&fake.tree, "boot-1", APPLIED).unwrap().unwrap();
    assert!(!kept.knows("sys/kernel/mm/transparent_hugepage/enabled"));
    assert!(kept.knows("proc/sys/vm/swappiness"));
}

#[test]
fn a_boot_puts_settings_back_so_that_older_values_are_dropped() {
    let fake = Fake::whole("boot");
    fake.apply(false);
    // The machine starts again, with another default than before.
    for (path, text) in FILES {
        fake.set(path, text);
    }
    fake.set("proc/sys/kernel/random/boot_id", "boot-2\n");
    fake.set("proc/sys/vm/swappiness", "30\n");
    fake.apply(false);
    assert_eq!(fake.tree.text("proc/sys/vm/swappiness"), "1");
    fake.undo().unwrap();
    assert_eq!(fake.tree.text("proc/sys/vm/swappiness"), "30", "not the 60 of the boot before");
}

#[test]
fn saved_values_that_cannot_be_read_stop_apply_and_undo() {
    let fake = Fake::whole("damaged");
    fake.apply(false);
    fs::write(saved::path(&fake.tree, APPLIED), "{ torn").unwrap();
    let before = fake.snapshot();
    assert!(fake.undo().unwrap_err().line.contains("saved.json"));
    let (knobs, facts) = (catalogue().unwrap(), fake.facts());
    let readings = judge(&knobs, &fake.tree, &facts);
    assert!(apply(&fake.tree, &readings, &facts.boot, true).is_err());
    assert_eq!(fake.snapshot(), before);
    assert_eq!(fs::read_to_string(saved::path(&fake.tree, APPLIED)).unwrap(), "{ torn");
}

#[test]
fn a_trial_changes_one_knob_and_leaves_every_file_as_it_was() {
    let fake = Fake::whole("trial");
    fake.apply(false);
    let before = fake.snapshot();
    let trials = Trials::of(fake.tree.clone(), &fake.facts()).unwrap();
    let mut tried = Vec::new();
    for trial in trials.trials.iter().filter(|trial| trial.untried.is_none()) {
        trials.begin(trial).unwrap();
        assert!(trials.begin(trial).unwrap_err().contains("trial.json"), "one at a time");
        let set = |side| trials.set(trial, side);
        if trial.knob == "queue/scheduler" {
            assert!(set(Side::Worse).is_ok());
            assert_eq!(chosen(&fake.tree.text("sys/block/sda/queue/scheduler")), "bfq");
            assert_ne!(fake.snapshot(), before);
        }
        let _ = (set(Side::Wanted), set(Side::Worse));
        // As after a kill: another process puts it back.
        Trials::of(fake.tree.clone(), &fake.facts()).unwrap().restore().unwrap();
        assert_eq!(fake.snapshot(), before, "{}", trial.knob);
        assert!(!saved::path(&fake.tree, TRIED).exists());
        tried.push(trial.knob.as_str());
    }
    assert!(tried.len() >= 12, "{tried:?}");
    assert!(trials.trials.iter().all(|trial| trial.untried.as_deref() != Some("")));
    let why = |name: &str| trials.trials.iter().find(|t| t.knob == name).unwrap().untried.clone();
    assert_eq!(why("CPU governor").unwrap(), "this box has no such knob");
    assert_eq!(why("vm.swappiness").unwrap(), "this box has no swap");
    assert!(trials.restore().unwrap().is_empty(), "nothing is left");
}

#[test]
fn the_script_writes_what_apply_would_and_tells_the_way_back() {
    let fake = Fake::whole("script's name");
    let (knobs, facts) = (catalogue().unwrap(), fake.facts());
    let readings = judge(&knobs, &fake.tree, &facts);
    let text = script(&fake.tree, &readings, false);
    let ran = std::process::Command::new("sh").arg("-c").arg(&text).status().unwrap();
    assert!(ran.success(), "{text}");
    for reading in readings.iter().filter(|reading| reading.state == State::Differs) {
        assert_eq!(chosen(&fake.tree.text(&reading.path)), reading.write, "{}", reading.path);
    }
    assert_eq!(fake.tree.text("proc/sys/vm/nr_hugepages"), "0", "only if asked");
    assert!(text.contains("# put '20'") && text.contains("by hand: add noatime"), "{text}");
}

#[test]
fn the_disks_under_a_mapped_device_are_found() {
    let fake = Fake::new(
        "mapped",
        &[
            ("proc/self/mountinfo", "22 1 253:0 / / rw - xfs /dev/dm-0 rw\n"),
            ("sys/block/dm-0/slaves/nvme0n1p2/x", ""),
            ("sys/block/dm-0/slaves/sdb/x", ""),
            ("sys/block/nvme0n1/nvme0n1p2/partition", "2\n"),
            ("sys/block/sdb/queue/scheduler", "[none]\n"),
        ],
    );
    fake.link("sys/dev/block/253:0", "../../block/dm-0");
    fake.link("sys/class/block/nvme0n1p2", "../../block/nvme0n1/nvme0n1p2");
    fake.link("sys/class/block/sdb", "../../block/sdb");
    assert_eq!(fake.facts().disks, ["nvme0n1", "sdb"]);
    assert_eq!(fake.facts().mount.unwrap().kind, "xfs");
}

#[test]
fn lists_of_cores_are_read_and_written_as_the_kernel_does() {
    assert_eq!(cores("0-2,5,7-8"), [0, 1, 2, 5, 7, 8]);
    assert_eq!(cores(""), Vec::<usize>::new());
    assert_eq!(list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
}

#[test]
fn only_root_changes_the_machine_and_the_refusal_names_the_way() {
    let machine = Tree::new(Path::new("/"));
    let stop = root_only(&machine, 1000, "apply").unwrap_err();
    assert!(stop.line.contains("needs root: sudo weir tune apply"), "{}", stop.line);
    assert!(root_only(&machine, 0, "apply").is_ok());
    assert!(root_only(&Tree::new(Path::new("/tmp/copy")), 1000, "undo").is_ok());
}
