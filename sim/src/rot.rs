//! Bit rot: one byte of a settled log changes on the medium, and the next start must say so.
//!
//! The blocks are read from the files here, without the log's own scan, and tell what has to
//! happen: a bad block that a later one calls durable is damage and named with its place; one
//! that nobody vouches for is a torn tail; a change outside of any checksum changes nothing.
//! After a refusal the log is started again with the choice to serve around damage: everything but
//! the records of the damaged block must be there, twice over, and nothing else.
//! Never: a file with records in it that disappears, whatever its header looks like.

use std::path::Path;

use weir::commitlog::{
    BlockHeader, LogError, SEGMENT_HEADER, disk_len, segment_number_of, segment_path,
};
use weir_io::sim::{Random, World};

use crate::life::{End, Estate, Life};
use crate::oracle::{Broken, Found};

/// Bytes of a segment's header page that are checked.
const HEADER_CHECKED: u64 = 64;

/// A block on disk.
#[derive(Clone, Copy, Debug)]
struct Block {
    segment: u32,
    offset: u64,
    header: BlockHeader,
}

/// What a start must do after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Refuse, and name this segment and offset.
    Damage(u32, u64),
    /// Cut at this position.
    Cut(u64),
    /// Find everything.
    Whole,
    /// Find everything or refuse, and remove nothing.
    WholeOrRefused,
}

/// Changes one byte of the settled log in `estate`'s world and starts it.
pub fn strike(estate: Estate<'_>) -> Result<(), Broken> {
    let world = estate.world;
    let blocks = read_blocks(world, &estate.plan.log.dir)?;
    let Some(last) = blocks.last() else { return Err("a settled log without blocks".to_owned()) };
    let end = last.header.end();
    let (segment, offset, verdict) = target(&blocks, estate.random);
    let path = segment_path(&estate.plan.log.dir, segment);
    let mask = 1 << estate.random.range(0..8);
    let flipped = world.flip(&path, offset, mask);
    flipped.map_err(|errno| format!("no segment {segment} to change: {errno}"))?;
    let before = world.files();
    let from = blocks[0].header.start;
    let found = start(&estate);
    let told = format!("byte {offset} of segment {segment} changed, expected {verdict:?}");
    match (&found, verdict) {
        (Err(LogError::Damage(damage, _)), Verdict::Damage(segment, offset))
            if (damage.segment, damage.offset) == (segment, offset) => {}
        (Err(_), Verdict::WholeOrRefused) => {}
        (Ok(found), Verdict::Cut(upto)) if (found.min, found.end) == (from, upto) => {}
        (Ok(found), Verdict::Whole | Verdict::WholeOrRefused)
            if (found.min, found.end) == (from, end) => {}
        (Ok(found), _) => {
            let (min, upto) = (found.min, found.end);
            return Err(format!("{told}: of {from} to {end} found {min} to {upto}"));
        }
        (Err(error), _) => return Err(format!("{told}: {error}")),
    }
    let gone = before.iter().find(|(name, _)| !world.files().iter().any(|(left, _)| left == name));
    let upto = found.as_ref().map_or(end, |found| found.end);
    let kept = |block: &Block| block.header.start < upto;
    let held = |name: &str| {
        blocks.iter().any(|block| kept(block) && name.ends_with(&file_name(block.segment)))
    };
    if let Some((name, _)) = gone.filter(|(name, _)| held(name)) {
        return Err(format!("{told}: {name}, which has records, was removed"));
    }
    match found {
        Ok(found) => estate.oracle.recovered_less(&found),
        Err(_) => serve_around(&estate, &blocks, verdict).map_err(|why| format!("{told}: {why}")),
    }
}

/// Starts the refused log with the choice to serve around damage, twice: the second start finds
/// what the first one left.
fn serve_around(estate: &Estate<'_>, blocks: &[Block], verdict: Verdict) -> Result<(), Broken> {
    let bad = |block: &&Block| match verdict {
        Verdict::Damage(segment, offset) => (block.segment, block.offset) == (segment, offset),
        _ => false,
    };
    let mut gone = blocks.iter().find(bad).map_or(0..0, |bad| bad.header.start..bad.header.end());
    let oldest = |first: &Block| bad(&first) && first.segment > 1;
    let headless = blocks.first().is_some_and(oldest);
    if headless {
        // Where the log began before it is not known without that block.
        gone.start = gone.end;
    }
    let end = blocks.last().map_or(0, |last| last.header.end());
    let mut options = estate.plan.log.clone();
    options.serve_around = true;
    for look in 1..=2 {
        let mut driver = estate.world.driver();
        let mut records = Vec::new();
        let opened =
            weir::commitlog::Log::open(&mut driver, options.clone(), None, &mut |_, at, bytes| {
                records.push((at, bytes.to_vec()));
                0
            });
        let (log, report) = match opened {
            Ok(opened) => opened,
            // The only header that said whose log it is.
            Err(LogError::Damage(damage, _)) if damage.offset == 0 => return Ok(()),
            Err(error) => return Err(format!("look {look} refused to serve around: {error}")),
        };
        let holes: Vec<_> = log.holes().map(|(_, hole)| hole.from..hole.upto).collect();
        let none = gone.is_empty() && !headless;
        let expected = if none { Vec::new() } else { vec![gone.clone()] };
        if holes != expected || report.end != end {
            let upto = report.end;
            return Err(format!("look {look}: holes {holes:?} of {end}, not {gone:?} of {upto}"));
        }
        // A header page is written again with the next start, and then whole.
        if log.damaged_segments().count() == 0 && (look == 1 || !gone.is_empty()) {
            return Err(format!("look {look}: no segment counts as damaged"));
        }
        estate.oracle.all_but(&records, log.min_position(), &gone)?;
    }
    Ok(())
}

fn file_name(segment: u32) -> String {
    weir::commitlog::file_name(segment)
}

/// Starts the log for the look alone.
fn start(estate: &Estate<'_>) -> Result<Found, LogError> {
    let mut driver = estate.world.driver();
    let mut records = Vec::new();
    let options = estate.plan.log.clone();
    let (log, report) =
        weir::commitlog::Log::open(&mut driver, options, None, &mut |_, position, bytes| {
            records.push((position, bytes.to_vec()));
            0
        })?;
    let min = log.min_position();
    Ok(Found { records, from: min, min, end: report.end })
}

/// Where to strike, and what has to follow.
fn target(blocks: &[Block], random: &mut Random) -> (u32, u64, Verdict) {
    let number = random.size(0..blocks.len());
    let block = blocks[number];
    if random.range(0..8) == 0 {
        let most = if random.coin() { HEADER_CHECKED } else { SEGMENT_HEADER };
        let offset = random.range(0..most);
        let checked = offset < HEADER_CHECKED;
        let verdict = if checked { Verdict::WholeOrRefused } else { Verdict::Whole };
        return (block.segment, offset, verdict);
    }
    let checked = (weir::base::limits::BLOCK_HEADER as u64) + u64::from(block.header.payload_len);
    let disk = disk_len(block.header.payload_len as usize) as u64;
    let within = if random.coin() { random.range(0..checked) } else { random.range(0..disk) };
    let promised = blocks[number + 1..].iter().any(|b| b.header.durable_upto > block.header.start);
    let verdict = match within < checked {
        true if promised => Verdict::Damage(block.segment, block.offset),
        true => Verdict::Cut(block.header.start),
        false => Verdict::Whole,
    };
    (block.segment, block.offset + within, verdict)
}

/// The blocks of a good log, in order.
fn read_blocks(world: &World, dir: &Path) -> Result<Vec<Block>, Broken> {
    let mut blocks: Vec<Block> = Vec::new();
    for (name, len) in world.files() {
        let path = Path::new(&name);
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let number = file.as_deref().and_then(segment_number_of);
        let Some(segment) = number.filter(|_| path.starts_with(dir)) else { continue };
        let bytes =
            world.peek(path, 0, len as usize).map_err(|errno| format!("{name}: {errno}"))?;
        let mut offset = SEGMENT_HEADER;
        while let Some(Ok((header, _))) = bytes.get(offset as usize..).map(BlockHeader::open) {
            // A good-looking block of an earlier generation can stand behind the end.
            let follows = blocks.last().is_none_or(|Block { header: last, .. }| {
                last.end() == header.start && last.generation <= header.generation
            });
            if !follows || header.segment != segment {
                break;
            }
            blocks.push(Block { segment, offset, header });
            offset += header.disk_len() as u64;
        }
    }
    Ok(blocks)
}

/// A life that settles, so that all it wrote is durable.
pub fn grow(estate: Estate<'_>, turns: u64) -> Result<(), Broken> {
    let lived = Life::start(estate).and_then(|mut life| {
        life.live(turns)?;
        life.settle()
    });
    match lived {
        Ok(()) => Ok(()),
        Err(End::Broken(broken)) => Err(broken),
        Err(other) => Err(format!("a calm life ended: {other:?}")),
    }
}
