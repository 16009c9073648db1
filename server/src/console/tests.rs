//! Headers that are too large or do not come to their end.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Writes a request and reads until the connection is closed.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // What is above the limit is not read to its end.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn headers_that_are_far_too_large_or_do_not_end_are_answered_or_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let console = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }));
    let stop = CancellationToken::new();
    let serving = answer(listener, console, Duration::from_millis(200), stop.clone());
    let asking = async {
        let plain = "GET / HTTP/1.1\r\nhost: orderly\r\nconnection: close\r\n";
        let answer = exchange(address, &format!("{plain}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
        let large = format!("{plain}x: {}\r\n\r\n", "x".repeat(100 * (16 << 10)));
        let answer = exchange(address, &large).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        let many = format!("{plain}{}\r\n", "x: y\r\n".repeat(101));
        assert!(exchange(address, &many).await.starts_with("HTTP/1.1 431"));
        // Nothing more comes: the server ends it, not we.
        assert_eq!(exchange(address, plain).await, "");
        // A request that is under way is answered before the end.
        let mut last = TcpStream::connect(address).await.unwrap();
        last.write_all(format!("{plain}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.unwrap();
        stop.cancel();
        answer
    };
    let ((), answer) = tokio::join!(serving, asking);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
