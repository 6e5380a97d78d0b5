//! a. b.
use std::hint::black_box;
use std::time::Instant;
fn best(name: &str, mut run: impl FnMut()) {
    const CALLS: u32 = 20_000;
    let mut best = f64::MAX;
    for _ in 0..60 {
        let start = Instant::now();
        for _ in 0..CALLS {
            run();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{name:<44} {best:>8.1} ns");
}
use weir_wire::frame::Codec;
use weir_wire::header::Header;
#[test]
fn scratch() {
    let text = r#"{"code":310,"flag":0,"language":"JAVA","opaque":4711,"serializeTypeCurrentRPC":"JSON","version":493,"extFields":{"a":"please_rename_unique_group_name","b":"TopicTest","c":"TBW102","d":"4","e":"2","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001order-4711\u0002UNIQ_KEY\u0001AC11000100010B8D6E5C0123456789AB\u0002CLUSTER\u0001DefaultCluster\u0002WAIT\u0001true\u0002TAGS\u0001TagA\u0002","j":"0","k":"false","m":"false","n":"broker-a"}}"#;
    best("utf8", || {
        black_box(std::str::from_utf8(black_box(text.as_bytes())).is_ok());
    });
    best("is_ascii", || {
        black_box(black_box(text.as_bytes()).is_ascii());
    });
    best("empty header", || {
        black_box(Header::parse(Codec::Json, black_box(b"{}")).unwrap().opaque);
    });
    best("empty header, moved", || {
        black_box(Header::parse(Codec::Json, black_box(b"{}")).unwrap());
    });
    best("header no ext", || {
        black_box(Header::parse(Codec::Json, black_box(br#"{"code":310,"flag":0,"language":"JAVA","opaque":4711,"serializeTypeCurrentRPC":"JSON","version":493}"#)).unwrap().opaque);
    });
    best("header", || {
        black_box(Header::parse(Codec::Json, black_box(text.as_bytes())).unwrap().opaque);
    });
    let noprop = text.replace("\\u0001", "=").replace("\\u0002", ";");
    best("header without escapes", || {
        black_box(Header::parse(Codec::Json, black_box(noprop.as_bytes())).unwrap().opaque);
    });
}
const TEXT: &str = r#"{"code":310,"flag":0,"language":"JAVA","opaque":4711,"serializeTypeCurrentRPC":"JSON","version":493,"extFields":{"a":"please_rename_unique_group_name","b":"TopicTest","c":"TBW102","d":"4","e":"2","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001order-4711\u0002UNIQ_KEY\u0001AC11000100010B8D6E5C0123456789AB\u0002CLUSTER\u0001DefaultCluster\u0002WAIT\u0001true\u0002TAGS\u0001TagA\u0002","j":"0","k":"false","m":"false","n":"broker-a"}}"#;
#[test]
fn count() {
    for _ in 0..10000 {
        black_box(Header::parse(Codec::Json, black_box(TEXT.as_bytes())).unwrap());
    }
}
