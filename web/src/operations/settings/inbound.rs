//! How messages of a party are taken at a location.

use orderly_engine::configuration::{
    AckConflict, AckMode, Acknowledgment, AnswerUnreadable, BatchAnswer, DifferentAgain, Duplicates,
    FindingClass, Inbound, InboundBatch, InboundCharset, OnBad, PartyAddress, SameAgain, SegmentMatching,
    SequenceRule, StaticText, TakeBatch, TrailingDelimiters, Validation, ValidationLevel,
};

use super::book::Book;
use super::words::{capital, list, span, verdict, when, yes};

pub(super) fn inbound(book: &mut Book<'_>, inbound: &Inbound) {
    let Inbound {
        versions,
        processing_ids,
        charset,
        validation,
        profile,
        trailing_delimiters: TrailingDelimiters(trailing),
        acknowledgment,
        duplicates,
        batch,
        sequence,
    } = inbound;
    book.group("What is checked");
    book.say("Message profile", "profile", profile.clone().unwrap_or_else(|| "None".to_owned()));
    book.within("validation", |book| checked(book, validation));
    book.say("HL7 versions (MSH-12)", "versions", list(versions, "Any"));
    book.say("Processing ids (MSH-11)", "processing_ids", list(processing_ids, "Any"));
    let characters = match charset {
        InboundCharset::Detect => "MSH-18, else what the bytes tell".to_owned(),
        InboundCharset::Declared => "MSH-18 alone".to_owned(),
        InboundCharset::Force(name) => format!("{name}, whatever MSH-18 says"),
    };
    book.say("Character set", "charset", characters);
    book.say("Delimiters at the end of a segment", "trailing_delimiters", capital(verdict(*trailing)));
    let numbers = match sequence {
        SequenceRule::Ignore => "Not looked at",
        SequenceRule::Echo => "Repeated in the answer",
        SequenceRule::Enforce => "Must follow each other: a gap is refused",
    };
    book.say("Sequence numbers (MSH-13)", "sequence", numbers);
    book.say(
        "Fragments (DSC, MSH-14)",
        "",
        "Joined to one message; a part whose rest does not come in an hour is shown",
    );
    book.group("How it is answered");
    book.within("acknowledgment", |book| answered(book, acknowledgment));
    book.group("What came before");
    book.within("duplicates", |book| repeats(book, duplicates));
    book.group("Batches that come in");
    book.within("batch", |book| batches(book, batch));
}

fn checked(book: &mut Book<'_>, validation: &Validation) {
    let Validation { level, matching, findings, most } = validation;
    let deep = match level {
        ValidationLevel::None => "Nothing",
        ValidationLevel::Header => "The header",
        ValidationLevel::Structure => "Header and structure",
        ValidationLevel::Fields => "Header, structure and fields",
        ValidationLevel::Standard => "All that the standard says, with its tables",
        ValidationLevel::Profile => "The standard and the profile",
    };
    book.say("Level", "level", deep);
    let strict = match matching {
        SegmentMatching::Lenient => "Lenient: what is out of order is a warning",
        SegmentMatching::Strict => "Strict: what is out of order is an error",
    };
    book.say("Order of segments", "matching", strict);
    for (word, class) in FindingClass::ALL {
        let key = format!("findings.{word}");
        let lasting = if findings.contains_key(&class) { "" } else { " (as usual)" };
        let text = format!("{}{lasting}", capital(verdict(validation.verdict(class))));
        book.say(class_words(class), &key, text);
    }
    book.say("Findings kept of one message", "most", format!("{most} at most"));
}

fn class_words(class: FindingClass) -> &'static str {
    match class {
        FindingClass::Header => "Something wrong in MSH",
        FindingClass::Structure => "A segment that does not belong or is missing",
        FindingClass::Required => "A required field that is missing",
        FindingClass::Datatype => "A value that has not the form of its type",
        FindingClass::Table => "A value that is not in its table",
        FindingClass::Length => "A value that is too long",
        FindingClass::Cardinality => "A field that repeats too often",
        FindingClass::Undeclared => "A segment or field nobody declared",
        FindingClass::Charset => "Bytes that are no text",
        FindingClass::Profile => "What only the profile asks for",
    }
}

fn answered(book: &mut Book<'_>, ack: &Acknowledgment) {
    let Acknowledgment {
        mode,
        accept_when,
        application_when,
        conflict,
        answer_unreadable,
        from,
        errors_most,
        errors_text,
        header,
        help_desk,
        echo_software,
        static_text,
        route,
        of_acks,
    } = ack;
    let rules = match mode {
        AckMode::None => "None: nobody is answered",
        AckMode::Original => "Original mode: AA, AE or AR after the commit",
        AckMode::Enhanced => "Enhanced mode: CA, CE or CR after the commit; what MSH-15 and MSH-16 ask for",
        AckMode::Application => "Stored is told at once (CA, CE, CR), the application answers later",
        AckMode::Static => "A fixed text",
        AckMode::Transport => "By the transport alone",
    };
    book.say("Acknowledgment mode", "mode", rules);
    book.say("Accept, where MSH-15 is empty", "accept_when", capital(&when(*accept_when)));
    book.say("Application, where MSH-16 is empty", "application_when", capital(&when(*application_when)));
    let wins = match conflict {
        AckConflict::MessageWins => "The message wins",
        AckConflict::PartyWins => "This setting wins; MSH-15 and MSH-16 do not count",
        AckConflict::EitherAsks => "Answered where either of them asks",
    };
    book.say("Where message and setting differ", "conflict", wins);
    let unreadable = match answer_unreadable {
        AnswerUnreadable::Reject => "AR with the usual delimiters",
        AnswerUnreadable::Close => "The connection is closed",
    };
    book.say("A frame without a readable MSH", "answer_unreadable", unreadable);
    book.say("Answers come from (MSH-3, MSH-4)", "from", whom(from.as_ref()));
    book.say("Errors in one answer", "errors.most", format!("{errors_most} at most"));
    book.say("Their text is told (ERR-8)", "errors.text", yes(*errors_text));
    let own: Vec<String> = header.iter().map(|(field, text)| format!("MSH-{field} = {text}")).collect();
    book.say("Own header fields", "header", list(&own, "None"));
    book.say("Names the help desk", "help_desk", yes(*help_desk));
    book.say("Repeats SFT", "echo_software", yes(*echo_software));
    book.say("Fixed texts", "static_text", fixed(static_text.as_ref()));
    let way = route.as_ref().map(|port| format!("By send port {port}"));
    let same = || "By the connection that the message came by".to_owned();
    book.say("Application answers leave", "route", way.unwrap_or_else(same));
    book.say("Acknowledgments that ask are answered", "of_acks", yes(*of_acks));
}

fn whom(from: Option<&PartyAddress>) -> String {
    let Some(PartyAddress { app, facility }) = from else {
        return "Whom the message was sent to (MSH-5, MSH-6)".to_owned();
    };
    match facility {
        Some(facility) => format!("{app} at {facility}"),
        None => app.clone(),
    }
}

fn fixed(text: Option<&StaticText>) -> String {
    let Some(StaticText { success, failure }) = text else { return "None".to_owned() };
    format!("Stored: {success} Not stored: {failure}")
}

fn repeats(book: &mut Book<'_>, duplicates: &Duplicates) {
    let Duplicates { window, same, different } = duplicates;
    let remembered = if window.is_zero() { "Not at all".to_owned() } else { span(*window) };
    book.say("Ids are remembered", "window", remembered);
    let again = match same {
        SameAgain::RepeatAnswer => "The first answer once more; it is not delivered again",
        SameAgain::AcceptAgain => "Taken again",
        SameAgain::Suspend => "Held for a person",
    };
    book.say("The same message again", "same", again);
    let other = match different {
        DifferentAgain::Accept => "Taken, with a warning and an alert",
        DifferentAgain::Refuse => "Refused",
        DifferentAgain::Suspend => "Held for a person",
    };
    book.say("Another message of the same id", "different", other);
}

fn batches(book: &mut Book<'_>, batch: &InboundBatch) {
    let InboundBatch { take, on_bad, counts, answer, validate_headers } = batch;
    let apart = match take {
        TakeBatch::Split => "Taken apart: each message goes its own way",
        TakeBatch::Whole => "Passes as one, byte for byte",
    };
    book.say("A batch", "take", apart);
    let bad = match on_bad {
        OnBad::SetAside => "It is kept for a person, the others go on",
        OnBad::RefuseAll => "Nothing of the batch is taken",
    };
    book.say("A bad message in it", "on_bad", bad);
    book.say("Wrong counts in BTS or FTS", "counts", capital(verdict(*counts)));
    let told = match answer {
        BatchAnswer::Each => "Each message by itself",
        BatchAnswer::Batch => "All answers in one batch",
        BatchAnswer::NegativeOnly => "A batch of the refusals alone",
        BatchAnswer::None => "Not at all",
    };
    book.say("Answered", "answer", told);
    book.say("Headers and trailers are checked", "validate_headers", yes(*validate_headers));
}
