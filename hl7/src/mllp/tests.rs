use proptest::prelude::*;

use super::*;

fn frames(limits: FrameLimits, chunks: &[&[u8]]) -> (Vec<Result<Frame, FrameError>>, Deframer) {
    let mut deframer = Deframer::new(limits);
    let mut found = Vec::new();
    for chunk in chunks {
        deframer.push(chunk);
        while let Some(frame) = deframer.next() {
            found.push(frame);
        }
    }
    (found, deframer)
}

#[track_caller]
fn check(sent: &[u8], expected: &[&[u8]]) {
    let (found, _) = frames(FrameLimits::default(), &[sent]);
    let payloads: Vec<_> = found.into_iter().map(|frame| frame.unwrap().bytes).collect();
    assert_eq!(payloads, expected);
    let single: Vec<&[u8]> = sent.chunks(1).collect();
    let (found, _) = frames(FrameLimits::default(), &single);
    let payloads: Vec<_> = found.into_iter().map(|frame| frame.unwrap().bytes).collect();
    assert_eq!(payloads, expected, "byte by byte");
}

#[test]
fn blocks_are_found_wherever_they_begin_and_end() {
    check(b"\x0Ba\r\x1C\r", &[b"a\r"]);
    check(b"\x0Ba\x1C\r\x0Bb\x1C\r", &[b"a", b"b"]);
    check(b"noise\x0Ba\x1C\rmore\r\n\x0Bb\x1C\r", &[b"a", b"b"]);
    check(b"\x0B\x1C\r", &[b""]);
    check(b"\x0Bhalf", &[]);
}

#[test]
fn an_end_block_inside_a_value_is_data() {
    check(b"\x0Ba\x1Cb\x1C\r", &[b"a\x1Cb"]);
}

#[test]
fn a_missing_last_carriage_return_is_tolerated() {
    check(b"\x0Ba\r\x1C", &[b"a\r"]);
    check(b"\x0Ba\r\x1C\x0Bb\x1C\r", &[b"a\r", b"b"]);
    check(b"\x0Ba\x1C\x0Bb\x1C\r", &[b"a", b"b"]);
    let (none, mut deframer) = frames(FrameLimits::default(), &[b"\x0Ba\x1C"]);
    assert!(none.is_empty());
    assert_eq!(deframer.take_bare_end().unwrap().bytes, b"a");
    assert!(deframer.take_bare_end().is_none());
}

#[test]
fn a_late_carriage_return_is_no_noise() {
    let (found, deframer) = frames(FrameLimits::default(), &[b"\x0Ba\r\x1C", b"\r\x0Bb\x1C\r"]);
    assert_eq!(found.len(), 2);
    assert_eq!(deframer.noise_total(), 0);
}

#[test]
fn bytes_outside_blocks_are_counted() {
    let (found, deframer) = frames(FrameLimits::default(), &[b"12345\x0Ba\x1C\r678"]);
    assert_eq!(found[0].as_ref().unwrap().noise, 5);
    assert_eq!(deframer.noise_total(), 8);
}

#[test]
fn a_start_block_inside_an_open_block_begins_again() {
    let (found, deframer) = frames(FrameLimits::default(), &[b"\x0Blost\x0Ba\x1C\r"]);
    let frame = found[0].as_ref().unwrap();
    assert_eq!((frame.bytes.as_slice(), frame.restarted, deframer.noise_total()), (&b"a"[..], true, 4));
}

#[test]
fn a_frame_at_the_limit_passes_and_one_above_keeps_its_head() {
    let limits = FrameLimits { frame_bytes_max: 10, kept_bytes_max: 4 };
    let (found, _) = frames(limits, &[&frame(b"0123456789")]);
    assert_eq!(found[0].as_ref().unwrap().bytes.len(), 10);

    for length in [11, 1_000] {
        let payload = vec![b'x'; length];
        let (found, mut deframer) = frames(limits, &[&frame(&payload), &frame(b"next")]);
        assert_eq!(found, [Err(FrameError::TooLong { limit: 10, head: b"xxxx".to_vec() })]);
        assert!(deframer.next().is_none(), "nothing is read after a broken frame");
    }
}

#[test]
fn an_endless_frame_is_given_up_before_its_end() {
    let mut deframer = Deframer::new(FrameLimits { frame_bytes_max: 1_000, kept_bytes_max: 10 });
    deframer.push(b"\x0B");
    for _ in 0..11 {
        deframer.push(&[b'x'; 100]);
    }
    assert!(matches!(deframer.next(), Some(Err(FrameError::TooLong { .. }))));
    deframer.push(&[b'x'; 100]);
    assert_eq!(deframer.pending(), 0);
}

#[test]
fn an_idle_connection_gives_the_memory_of_a_large_frame_back() {
    let mut deframer = Deframer::new(FrameLimits::default());
    deframer.push(&frame(&vec![b'x'; 1 << 20]));
    assert_eq!(deframer.next().unwrap().unwrap().bytes.len(), 1 << 20);
    assert!(deframer.buffer.capacity() <= BUFFER_KEPT);
    deframer.push(&frame(b"next"));
    assert_eq!(deframer.next().unwrap().unwrap().bytes, b"next");
}

proptest! {
    #[test]
    fn chunks_do_not_change_what_is_read(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no block bytes", |b| *b != START && *b != END), 0..40), 0..6),
        size in 1_usize..20,
    ) {
        let mut sent = Vec::new();
        for payload in &payloads {
            frame_into(&mut sent, payload);
        }
        let chunks: Vec<&[u8]> = sent.chunks(size).collect();
        let (found, deframer) = frames(FrameLimits::default(), &chunks);
        let found: Vec<_> = found.into_iter().map(|frame| frame.unwrap().bytes).collect();
        prop_assert_eq!(found, payloads);
        prop_assert_eq!(deframer.noise_total(), 0);
    }

    #[test]
    fn any_bytes_in_any_chunks_give_the_same_frames(
        sent in prop::collection::vec(prop::sample::select(vec![START, END, b'\r', b'\n', b'a', b'b']), 0..60),
        size in 1_usize..7,
    ) {
        let limits = FrameLimits { frame_bytes_max: 12, kept_bytes_max: 3 };
        let whole = frames(limits, &[&sent]).0;
        let chunks: Vec<&[u8]> = sent.chunks(size).collect();
        let parts = frames(limits, &chunks).0;
        let bytes = |found: Vec<Result<Frame, FrameError>>| -> Vec<Result<Vec<u8>, usize>> {
            found.into_iter().map(|frame| match frame {
                Ok(frame) => Ok(frame.bytes),
                Err(FrameError::TooLong { limit, .. }) => Err(limit),
            }).collect()
        };
        prop_assert_eq!(bytes(whole), bytes(parts));
    }
}
