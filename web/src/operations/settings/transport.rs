//! Adapters: sockets, encryption, bytes around a message, folders.

use orderly_engine::configuration::{
    AfterFile, CallerTls, ClientCertificate, FileOrder, FileWrite, FolderReceive, FolderSend, Framing,
    ListenerTls, MllpLimits, MllpReceive, MllpSend, ReceiveAdapter, SendAdapter,
};

use super::book::Book;
use super::words::{bytes, list, peers, secret, span, span_or_never, tls, yes};

pub(super) fn receive(book: &mut Book<'_>, adapter: &ReceiveAdapter) {
    match adapter {
        ReceiveAdapter::Mllp(mllp) => book.within("adapter.mllp", |book| listener(book, mllp)),
        ReceiveAdapter::Folder(folder) => book.within("adapter.folder", |book| picked_up(book, folder)),
    }
}

pub(super) fn send(book: &mut Book<'_>, target: &SendAdapter) {
    match target {
        SendAdapter::Mllp(mllp) => book.within("target.mllp", |book| caller(book, mllp)),
        SendAdapter::Folder(folder) => book.within("target.folder", |book| put_down(book, folder)),
    }
}

fn listener(book: &mut Book<'_>, mllp: &MllpReceive) {
    let MllpReceive { listen, tls, peers: callers, framing, limits, keepalive, persistent } = mllp;
    book.say("Listens on", "socket.listen", listen.to_string());
    book.say("Callers that are let in", "peers", peers(callers));
    match tls {
        None => book.say("Encryption", "tls", "None"),
        Some(tls) => book.within("tls", |book| listener_tls(book, tls)),
    }
    book.within("framing", |book| bytes_around(book, framing));
    book.within("limits", |book| mllp_limits(book, limits));
    book.say("TCP keepalive", "keepalive", format!("Every {}", span(*keepalive)));
    let stays = if *persistent { "Stays open for further messages" } else { "Closed after each answer" };
    book.say("Connection", "persistent", stays);
}

fn listener_tls(book: &mut Book<'_>, encryption: &ListenerTls) {
    let ListenerTls { certificate, key, client, client_ca, minimum } = encryption;
    book.say("Encryption", "minimum", format!("{} or newer", tls(*minimum)));
    book.say("Certificate", "certificate", certificate.to_string());
    book.say("Its key", "key", key.to_string());
    let asked = match client {
        ClientCertificate::None => "Not asked for",
        ClientCertificate::Offered => "Asked for, not demanded",
        ClientCertificate::Required => "Demanded",
    };
    book.say("Certificates of callers", "client", asked);
    book.say("Signed by", "client_ca", secret(client_ca.as_ref(), "Not looked at"));
}

fn mllp_limits(book: &mut Book<'_>, limits: &MllpLimits) {
    let MllpLimits { frame_bytes, frame_time, idle, connections, per_peer, pipelined } = limits;
    book.say("Longest frame", "frame", bytes(*frame_bytes as u64));
    book.say("Longest time for a frame", "frame_time", span(*frame_time));
    book.say("A silent connection is closed", "idle", span_or_never(*idle));
    book.say("Connections", "connections", format!("{connections} at most"));
    book.say("Connections from one address", "per_peer", format!("{per_peer} at most"));
    book.say("Frames read ahead", "pipelined", pipelined.to_string());
}

fn bytes_around(book: &mut Book<'_>, framing: &Framing) {
    let Framing { start, end, last, refuse_missing_start, write_start, commit_bytes } = framing;
    book.say("Byte before a message", "start", format!("{start:02X}"));
    book.say("First byte after it", "end", format!("{end:02X}"));
    book.say("Last byte after it", "last", format!("{last:02X}"));
    let missing = if *refuse_missing_start { "Refused" } else { "Taken" };
    book.say("A frame without its first byte", "missing_start", missing);
    book.say("We write the byte before a message", "write_start", yes(*write_start));
    let release = if *commit_bytes { "MLLP release 2: stored is told with 06" } else { "MLLP release 1" };
    book.say("Commit bytes", "commit_bytes", release);
}

fn picked_up(book: &mut Book<'_>, folder: &FolderReceive) {
    let FolderReceive { path, mask, every, stable_for, order, after, at_once, bytes_max } = folder;
    book.say("Folder", "path", path);
    book.say("Files", "mask", mask);
    book.say("Looked into", "every", format!("Every {}", span(*every)));
    book.say("A file is taken", "stable_for", format!("When it stood still for {}", span(*stable_for)));
    let first = match order {
        FileOrder::Name => "By name",
        FileOrder::Time => "The oldest first",
    };
    book.say("Order", "order", first);
    let then = match after {
        AfterFile::Move(None) => "Moved to done below the folder".to_owned(),
        AfterFile::Move(Some(to)) => format!("Moved to {to}"),
        AfterFile::Delete => "Deleted".to_owned(),
    };
    book.say("A file that was taken", "after", then);
    book.say("Files at the same time", "at_once", at_once.to_string());
    book.say("Largest file", "largest", bytes(*bytes_max));
}

fn put_down(book: &mut Book<'_>, folder: &FolderSend) {
    let FolderSend { path, name, write, temporary } = folder;
    book.say("Folder", "path", path);
    book.say("Name of a file", "name", name);
    let same = match write {
        FileWrite::Create => "It stays, and the delivery waits for a person",
        FileWrite::Replace => "It is replaced",
        FileWrite::Append => "It grows",
    };
    book.say("A file of the same name", "write", same);
    book.say("While it is written it ends with", "temporary", temporary);
}

fn caller(book: &mut Book<'_>, mllp: &MllpSend) {
    let MllpSend { connect, tls, framing, connect_timeout, write_timeout, keepalive, idle, persistent } =
        mllp;
    book.say("Calls", "socket.connect", connect.to_string());
    match tls {
        None => book.say("Encryption", "tls", "None"),
        Some(tls) => book.within("tls", |book| caller_tls(book, tls)),
    }
    book.say("Time to connect", "connect_timeout", span(*connect_timeout));
    book.say("Time to write", "write_timeout", span(*write_timeout));
    book.say("TCP keepalive", "keepalive", format!("Every {}", span(*keepalive)));
    book.say("A silent connection is closed", "idle", span_or_never(*idle));
    let stays = if *persistent { "Stays open for further messages" } else { "One for each message" };
    book.say("Connection", "persistent", stays);
    book.within("framing", |book| bytes_around(book, framing));
}

fn caller_tls(book: &mut Book<'_>, encryption: &CallerTls) {
    let CallerTls { ca, certificate, key, server_name, pin_sha256, minimum } = encryption;
    book.say("Encryption", "minimum", format!("{} or newer", tls(*minimum)));
    book.say("Receiver's certificate signed by", "ca", secret(ca.as_ref(), "Any known authority"));
    let host = || "The host of the address".to_owned();
    book.say("Name in it", "server_name", server_name.clone().unwrap_or_else(host));
    book.say("Only these certificates", "pin_sha256", list(pin_sha256, "Any that is signed so"));
    book.say("Our certificate", "certificate", secret(certificate.as_ref(), "None"));
    book.say("Its key", "key", secret(key.as_ref(), "None"));
}
