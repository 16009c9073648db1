//! The listener and the client against each other and against badly behaved peers, on real sockets.

use super::*;
use crate::configuration::{Address, LocationLimits, MllpReceive, MllpSend};
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Answers frames with `ok:` and their text; `later` frames are kept unanswered until `release`.
#[derive(Default)]
struct Echo {
    seen: Mutex<Vec<String>>,
    held: Mutex<Vec<(String, Reply)>>,
}

impl Intake for Echo {
    fn take(&self, input: Input, _: &Peer, reply: Reply) -> Taken {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (told, answer) = match &input {
            Input::Frame(bytes) => (text(bytes), Answer::Ack([b"ok:", bytes.as_slice()].concat())),
            Input::Noise(bytes) => (format!("noise:{}", text(bytes)), Answer::Nothing),
            Input::Incomplete(bytes) => (format!("half:{}", text(bytes)), Answer::Nothing),
            Input::TooLarge(_) => ("large".to_owned(), Answer::AckAndClose(b"no".to_vec())),
        };
        self.seen.lock().unwrap().push(told.clone());
        if told.starts_with("later") {
            self.held.lock().unwrap().push((told, reply));
        } else {
            reply.answer(answer);
        }
        Taken::Queued
    }
}

impl Echo {
    fn release(&self) {
        for (told, reply) in self.held.lock().unwrap().drain(..).rev() {
            reply.answer(Answer::Ack(format!("ok:{told}").into_bytes()));
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn listen(change: impl FnOnce(&mut MllpReceive)) -> (Listener, Arc<Echo>) {
    listen_within(LocationLimits::default(), change).await
}

async fn listen_within(
    limits: LocationLimits,
    change: impl FnOnce(&mut MllpReceive),
) -> (Listener, Arc<Echo>) {
    listen_among(ConnectionTotal::default(), limits, change).await
}

async fn listen_among(
    total: ConnectionTotal,
    limits: LocationLimits,
    change: impl FnOnce(&mut MllpReceive),
) -> (Listener, Arc<Echo>) {
    let mut settings = MllpReceive::new(Address::new("127.0.0.1", 0));
    change(&mut settings);
    let echo = Arc::new(Echo::default());
    let intake: Arc<dyn Intake> = Arc::clone(&echo) as _;
    let listener = Listener::start("test/mllp", &settings, limits, None, total, intake).await.unwrap();
    (listener, echo)
}

async fn connect(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.address()).await.unwrap()
}

/// Everything until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8(all).unwrap()
}

async fn answer(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn frames_are_answered_in_order_however_late_the_first_is_ready() {
    let (listener, echo) = listen(|_| {}).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"\x0blater1\x1c\r\x0blater2\x1c\r\x0bnow\x1c\r").await.unwrap();
    while echo.seen().len() < 3 {
        tokio::task::yield_now().await;
    }
    echo.release();
    assert_eq!(answer(&mut stream, 33).await, "\x0bok:later1\x1c\r\x0bok:later2\x1c\r\x0bok:now\x1c\r");
}

#[tokio::test]
async fn no_more_frames_are_read_than_the_window_allows_until_one_is_answered() {
    let (listener, echo) = listen(|settings| settings.limits.pipelined = 2).await;
    let mut stream = connect(&listener).await;
    stream.write_all(&b"\x0blater\x1c\r".repeat(5)).await.unwrap();
    let mut seen = 0;
    for round in 1..=3 {
        while echo.seen().len() < (round * 2).min(5) {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen = echo.seen().len();
        assert_eq!(seen, (round * 2).min(5));
        echo.release();
        answer(&mut stream, 11 * if round == 3 { 1 } else { 2 }).await;
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn half_a_frame_and_noise_are_kept_when_the_connection_ends() {
    let (listener, echo) = listen(|_| {}).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\x0bMSH|half").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(echo.seen(), ["half:MSH|half", "noise:GET / HTTP/1.1\r\n"]);
    assert_eq!(listener.counters().broken_frames.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_frame_above_the_limit_is_answered_and_ends_the_connection() {
    let (listener, echo) = listen(|settings| settings.limits.frame_bytes = 10).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"\x0b0123456789\x1c\r\x0b01234567890\x1c\r\x0bnever\x1c\r").await.unwrap();
    assert_eq!(rest(&mut stream).await, "\x0bok:0123456789\x1c\r\x0bno\x1c\r");
    assert_eq!(echo.seen(), ["0123456789", "large"]);
}

#[tokio::test]
async fn a_sender_in_the_middle_of_a_frame_above_the_limit_reads_the_answer_and_is_not_cut_off() {
    let (listener, echo) = listen(|settings| settings.limits.frame_bytes = 10_000).await;
    let mut stream = connect(&listener).await;
    stream.write_all(&[b"\x0b".as_slice(), &[b'x'; 10_001]].concat()).await.unwrap();
    assert_eq!(rest(&mut stream).await, "\x0bno\x1c\r");
    // A closed socket would answer the rest with a reset, which takes the answer back on some systems.
    for _ in 0..100 {
        stream.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(echo.seen(), ["large"]);
}

#[tokio::test]
async fn a_frame_that_does_not_end_in_time_ends_the_connection() {
    let (listener, echo) = listen(|settings| settings.limits.frame_time = Duration::from_millis(100)).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"\x0bMSH|").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(echo.seen(), ["half:MSH|"]);
}

#[test]
fn after_five_seconds_a_frame_comes_with_a_kilobyte_a_second_or_is_given_up() {
    let seconds = Duration::from_secs;
    let too_slow = |age, bytes| connection::is_too_slow(age, bytes, seconds(30));
    assert!(!too_slow(seconds(5), 1), "a slow beginning is allowed");
    assert!(!too_slow(seconds(6), 6 << 10));
    assert!(too_slow(seconds(6), (6 << 10) - 1));
    assert!(too_slow(seconds(6), (6 << 10) / 100));
    assert!(!too_slow(seconds(29), 29 << 10));
    assert!(too_slow(seconds(30), 8 << 20), "the end of time holds for fast ones, too");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_is_owed_an_answer_is_not() {
    let (listener, echo) = listen(|settings| settings.limits.idle = Duration::from_millis(100)).await;
    let mut idle = connect(&listener).await;
    let mut waiting = connect(&listener).await;
    waiting.write_all(b"\x0blater\x1c\r").await.unwrap();
    assert_eq!(rest(&mut idle).await, "");
    echo.release();
    assert_eq!(answer(&mut waiting, 11).await, "\x0bok:later\x1c\r");
}

#[tokio::test]
async fn callers_above_the_limits_of_address_location_and_node_are_refused_until_one_hangs_up() {
    type Change = fn(&mut MllpReceive);
    let cases: [(usize, Change); 3] = [
        (1_000, |settings| settings.limits.per_peer = 2),
        (1_000, |settings| settings.limits.connections = 2),
        (2, |_| {}),
    ];
    for (node, change) in cases {
        let (total, limits) = (ConnectionTotal::new(node), LocationLimits::default());
        let (listener, _) = listen_among(total, limits, change).await;
        let ask = async |stream: &mut TcpStream| {
            stream.write_all(b"\x0ba\x1c\r").await.unwrap();
            answer(stream, 7).await
        };
        let mut taken = [connect(&listener).await, connect(&listener).await];
        for stream in &mut taken {
            assert_eq!(ask(stream).await, "\x0bok:a\x1c\r");
        }
        let refused = &listener.counters().refused;
        for count in [1, 200] {
            for _ in 0..count {
                assert_eq!(rest(&mut connect(&listener).await).await, "");
            }
        }
        assert_eq!(refused.load(std::sync::atomic::Ordering::Relaxed), 201);
        let [mut stays, goes] = taken;
        drop(goes);
        until(|| listener.counters().connections.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
        assert_eq!(ask(&mut connect(&listener).await).await, "\x0bok:a\x1c\r");
        assert_eq!(ask(&mut stays).await, "\x0bok:a\x1c\r");
    }
}

#[tokio::test]
async fn callers_that_are_not_on_the_list_are_refused() {
    let (listener, _) = listen(|settings| settings.peers = vec!["192.0.2.0/24".parse().unwrap()]).await;
    assert_eq!(rest(&mut connect(&listener).await).await, "");
}

#[tokio::test]
async fn a_stop_answers_what_was_taken_and_takes_no_more() {
    let (listener, echo) = listen(|_| {}).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"\x0blater\x1c\r").await.unwrap();
    while echo.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let stop = listener.stop();
    tokio::pin!(stop);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut stop).await.is_err());
    echo.release();
    tokio::time::timeout(Duration::from_secs(5), stop).await.unwrap();
    assert_eq!(rest(&mut stream).await, "\x0bok:later\x1c\r");
    assert!(TcpStream::connect(listener.address()).await.is_err());
}

#[tokio::test]
async fn a_location_that_is_not_persistent_closes_after_one_answer() {
    let (listener, _) = listen(|settings| settings.persistent = false).await;
    let mut stream = connect(&listener).await;
    stream.write_all(b"\x0bone\x1c\r\x0btwo\x1c\r").await.unwrap();
    assert_eq!(rest(&mut stream).await, "\x0bok:one\x1c\r");
}

#[tokio::test]
async fn a_reader_that_does_not_read_gets_all_answers_when_it_does() {
    let (listener, _) = listen(|_| {}).await;
    let mut stream = connect(&listener).await;
    let text = "x".repeat(100 << 10);
    for _ in 0..8 {
        stream.write_all(format!("\x0b{text}\x1c\r").as_bytes()).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.len(), 8 * (text.len() + 6));
}

#[tokio::test]
async fn the_client_calls_over_tls_with_its_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let secret = |name: &str| crate::configuration::Secret::File(name.into());
    let server = crate::configuration::ListenerTls {
        certificate: secret("cert.pem"),
        key: secret("key.pem"),
        client: crate::configuration::ClientCertificate::None,
        client_ca: None,
        minimum: crate::configuration::TlsMinimum::V1_2,
    };
    let settings = MllpReceive::new(Address::new("127.0.0.1", 0));
    let echo: Arc<dyn Intake> = Arc::new(Echo::default());
    let tls = tls::listener(&server, folder.path()).unwrap();
    let total = ConnectionTotal::default();
    let listener =
        Listener::start("t/tls", &settings, LocationLimits::default(), Some(tls), total, echo).await.unwrap();

    let mut target = MllpSend::new(Address::new("localhost", listener.address().port()));
    let caller = crate::configuration::CallerTls { ca: Some(secret("cert.pem")), ..Default::default() };
    let config = tls::caller(&caller, folder.path()).unwrap();
    target.tls = Some(caller);
    let mut client = Dial::new(target, Some(config)).call().await.unwrap();
    client.write(b"hello").await.unwrap();
    assert_eq!(client.read(Instant::now() + Duration::from_secs(5)).await.unwrap(), b"ok:hello");
    client.close().await;

    let plain = MllpSend::new(Address::new("127.0.0.1", listener.address().port()));
    let mut plain = Dial::new(plain, None).call().await.unwrap();
    plain.write(b"hello").await.unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    assert!(matches!(plain.read(until).await, Err(ClientError::Broken(_))));
}

#[tokio::test]
async fn the_client_tells_nobody_there_from_no_answer() {
    let (listener, _) = listen(|_| {}).await;
    let address = Address::new("127.0.0.1", listener.address().port());
    let mut client = Dial::new(MllpSend::new(address.clone()), None).call().await.unwrap();
    client.write(b"later").await.unwrap();
    let until = Instant::now() + Duration::from_millis(30);
    assert!(matches!(client.read(until).await, Err(ClientError::Timeout)));
    assert!(client.unasked().await.unwrap().is_none());
    drop(listener);
    let mut gone = MllpSend::new(Address::new("127.0.0.1", 1));
    gone.connect_timeout = Duration::from_secs(2);
    assert!(matches!(Dial::new(gone, None).call().await, Err(ClientError::NoConnection(_))));
}

#[tokio::test]
async fn what_is_above_the_messages_in_flight_waits_in_its_socket_and_is_not_lost() {
    let limits = LocationLimits { in_flight: 2, ..LocationLimits::default() };
    let (listener, echo) = listen_within(limits, |_| {}).await;
    let mut peers = Vec::new();
    for number in 0..4 {
        let mut stream = connect(&listener).await;
        stream.write_all(format!("\x0blater{number}\x1c\r").as_bytes()).await.unwrap();
        peers.push(stream);
    }
    until(|| echo.seen().len() == 2).await;
    // One that is answered makes room for one; a connection that goes away gives back what it held.
    for round in [2, 4] {
        assert_eq!(echo.seen().len(), round, "no more than two are under way");
        echo.release();
        until(|| echo.seen().len() == (round + 2).min(4)).await;
    }
    echo.release();
    for mut stream in peers {
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.contains("ok:later"));
    }
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "it holds in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
