//! The arguments of `orderly hl7 …`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use orderly_hl7::GroupPath;
use orderly_hl7::acknowledge::{AckCode, AckMode};
use orderly_hl7::deid::Override;
use orderly_hl7::diff::Ignored;
use orderly_hl7::validate::Level;

/// Files hold one message, several, batches (FHS, BHS), saved MLLP blocks, or messages in XML; which, is found out.
/// Big files are read message by message. `-` is standard input.
///
/// Exit codes: 0 fine, 1 a negative result (not valid, different, refused), 2 could not be done, 4 no connection.
#[derive(Subcommand)]
pub(crate) enum Hl7 {
    /// Print each message: for people, or as one JSON object a line.
    Parse(Parse),
    /// Print the decoded value of each path, one a line.
    Get(Get),
    /// Check messages against the standard; exit 1 when there are errors.
    Validate(Validate),
    /// Print the acknowledgment of each message.
    Ack(Ack),
    /// Write messages in another encoding: XML (urn:hl7-org:v2xml) or ER7 (bars and hats).
    Convert(Convert),
    /// Say what two files say differently, by path; exit 1 when they differ.
    Diff(Diff),
    /// Replace what identifies people by made-up values, the same for the same person.
    Deid(Deid),
    /// Send messages by MLLP and read the answers; exit 1 when one is not as expected, 4 without connection.
    Send(Send),
    /// Receive messages by MLLP, print them and answer.
    Listen(Listen),
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 parse admit.hl7
  orderly hl7 parse --json batch.hl7 | jq .control_id")]
pub(crate) struct Parse {
    /// One JSON object a line: type, event, structure, version, control id, charset, delimiters, segments, findings.
    #[arg(long)]
    pub(crate) json: bool,
    /// Files to read; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 get admit.hl7 PID-3.1 PID-5.1
  orderly hl7 get --json result.hl7 'OBX[2]-5' 'PID-3[2].4.2'
  orderly hl7 get result.hl7 'ORDER_OBSERVATION[2].OBX[3]-5'

A line end inside a value is printed as \\n, the delete indicator as \"\".
With --json a value is text, delete is null, and empty or absent is \"\".")]
pub(crate) struct Get {
    /// Tell value, empty and delete apart; exact text.
    #[arg(long)]
    pub(crate) json: bool,
    /// File to read; `-` is standard input.
    pub(crate) file: PathBuf,
    /// Places, as in PID-3.1, PID-3[2].4.2, OBX[3]-5.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<GroupPath>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 validate *.hl7
  orderly hl7 validate --json --level structure - < result.hl7
  orderly hl7 validate --profile rules/profiles/ward.yaml admit.hl7

Codes are those of HL7 table 0357. --json prints one object a message.")]
pub(crate) struct Validate {
    /// One JSON object a message: {"findings":[{"path","code","severity","text"}]}.
    #[arg(long)]
    pub(crate) json: bool,
    /// How deep to look; with a profile `profile`, else `standard`.
    #[arg(long, value_enum)]
    pub(crate) level: Option<Depth>,
    /// A message profile: its YAML file; those it is like stand beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Segments out of order, too often or not expected are errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Warnings count as errors.
    #[arg(long)]
    pub(crate) warnings: bool,
    /// Files to read; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// How deep `validate` looks.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Depth {
    /// Only what reading the message finds.
    None,
    /// Type, event, version, processing id, control id.
    Header,
    /// Also segments, their order and groups.
    Structure,
    /// Also fields: presence, repetition, types and lengths.
    Fields,
    /// Also codes of tables.
    Standard,
    /// Also what the profile says.
    Profile,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::None => Self::None,
            Depth::Header => Self::Header,
            Depth::Structure => Self::Structure,
            Depth::Fields => Self::Fields,
            Depth::Standard => Self::Standard,
            Depth::Profile => Self::Profile,
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 ack admit.hl7
  orderly hl7 ack --mode enhanced --code CE admit.hl7
  orderly hl7 ack --validate admit.hl7")]
pub(crate) struct Ack {
    /// One application answer (AA, AE, AR), or the accept level of enhanced mode (CA, CE, CR).
    #[arg(long, value_enum, default_value_t = Mode::Original)]
    pub(crate) mode: Mode,
    /// MSA-1: AA, AE, AR, CA, CE or CR. Without it AA or CA.
    #[arg(long, value_parser = code, conflicts_with = "validate")]
    pub(crate) code: Option<AckCode>,
    /// Validate, and answer what the findings call for, with ERR.
    #[arg(long)]
    pub(crate) validate: bool,
    /// MSA-3, a text for the sender.
    #[arg(long, default_value = "")]
    pub(crate) text: String,
    /// File to read; `-` is standard input.
    pub(crate) file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    Original,
    Enhanced,
}

impl From<Mode> for AckMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Original => Self::Original,
            Mode::Enhanced => Self::Enhanced,
        }
    }
}

fn code(text: &str) -> Result<AckCode, String> {
    AckCode::from_text(text).ok_or_else(|| "it is one of AA AE AR CA CE CR".to_owned())
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 convert --to xml result.hl7 > result.xml
  orderly hl7 convert --to er7 result.xml
  orderly hl7 convert --to er7 from-windows.txt    (same encoding: mends line ends, takes MLLP blocks off)

One message becomes one XML document. Several, or batches, become one document with the element HL7_FILE around.")]
pub(crate) struct Convert {
    /// The encoding to write.
    #[arg(long, value_enum)]
    pub(crate) to: Encoding,
    /// File to read; `-` is standard input.
    pub(crate) file: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    Xml,
    Er7,
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 diff before.hl7 after.hl7
  orderly hl7 diff --ignore MSH-7,MSH-10,ZPI before.hl7 after.hl7

Values are compared as decoded, so another escape for the same text is no difference, and neither is empty against
absent. Segments that came or went are told as such (+, -). Several messages are compared by their order.")]
pub(crate) struct Diff {
    /// One JSON object a difference.
    #[arg(long)]
    pub(crate) json: bool,
    /// Places or segments to leave out.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) ignore: Vec<Ignored>,
    /// The first file; `-` is standard input.
    pub(crate) left: PathBuf,
    /// The second file.
    pub(crate) right: PathBuf,
}

#[derive(Args)]
#[command(after_help = "Examples:
  head -c 32 /dev/urandom > key
  orderly hl7 deid --key-file key --report admit.hl7 > sample.hl7
  orderly hl7 deid --key-file key --out samples *.hl7
  orderly hl7 deid --key-file key --rule PID-23=keep --rule ZPI-2=name --local mask admit.hl7

By data type: names and addresses become made-up words of the same length; identifiers, phones and postal codes others
of the same form, one to one; dates of one patient move back by the same number of days (1 to 365), with their precision.
Free text (NTE-3, TX, FT, ST in OBX-5) becomes x and 0. Attached documents (ED) are dropped. Codes, numbers, units,
organisations and structure stay. Segments that the version does not have are dropped, and reported.
The same key gives the same replacements in every run and file. Plain text that stays is listed as `keep` in the report:
read it before you pass files on. Nothing can find a name that somebody wrote into a code.")]
pub(crate) struct Deid {
    /// File with the secret, at least 16 bytes. Without it a random one for this run.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Folder to write to, one file for each; else standard output.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Tell on standard error what was done at which place, and how often.
    #[arg(long)]
    pub(crate) report: bool,
    /// The report as JSON lines.
    #[arg(long, requires = "report")]
    pub(crate) json: bool,
    /// What happens to free text.
    #[arg(long, value_enum, default_value_t = FreeText::Mask)]
    pub(crate) text: FreeText,
    /// What happens to local (Z) and unknown segments.
    #[arg(long, value_enum, default_value_t = Local::Drop)]
    pub(crate) local: Local,
    /// A place and what happens there: keep, id, name, text, date or drop. The last one that fits counts.
    #[arg(long = "rule", value_name = "PATH=ACTION")]
    pub(crate) rules: Vec<Override>,
    /// Files to read; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// What `deid` does with free text.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FreeText {
    /// Letters become x, digits 0.
    Mask,
    /// It is left empty.
    Drop,
    /// It stays, whatever it says.
    Keep,
}

/// What `deid` does with local segments.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Local {
    /// They are taken out.
    Drop,
    /// Letters become x, digits 0.
    Mask,
    /// They stay, whatever they say.
    Keep,
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 send --to 127.0.0.1:2575 admit.hl7
  orderly hl7 send --to lab:2575 --repeat 1000 --rate 50 --new-ids --quiet result.hl7
  orderly hl7 send --to lab:2575 --expect AE broken.hl7

Each message waits for the answer whose MSA-2 is its MSH-10. One that asks for none (NE in MSH-15 and MSH-16) and an
acknowledgment are not waited for. A summary of the answers goes to standard error.")]
pub(crate) struct Send {
    /// Where to: HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub(crate) to: String,
    /// Messages a second at most.
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Send all files so many times.
    #[arg(long, default_value_t = 1, value_name = "TIMES")]
    pub(crate) repeat: u32,
    /// Give each message a MSH-10 of its own, so that repeats are no duplicates.
    #[arg(long)]
    pub(crate) new_ids: bool,
    /// Codes of MSA-1 that are fine.
    #[arg(long, value_delimiter = ',', value_parser = code, default_value = "AA,CA")]
    pub(crate) expect: Vec<AckCode>,
    /// Send the bytes of the file also when they end segments with line feeds; else those become carriage returns.
    #[arg(long)]
    pub(crate) as_is: bool,
    /// Do not wait for answers.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Seconds to wait for one answer.
    #[arg(long, default_value_t = 30.0, value_parser = positive)]
    pub(crate) timeout: f64,
    /// One JSON object an answer: control id, code, text, milliseconds.
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
    /// Print the summary alone.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Files to send; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(text.to_owned())
        }
        _ => Err("write a host and a port, as in 127.0.0.1:2575".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number > 0.0 && *number < 1e9)
        .ok_or_else(|| "it is a number above 0".to_owned())
}

#[derive(Args)]
#[command(after_help = "Examples:
  orderly hl7 listen --port 2575
  orderly hl7 listen --port 2575 --ack AE --quiet
  orderly hl7 listen --port 2575 --save received --count 10

Without --ack a message gets what it asks for: AA, or CA in enhanced mode, or nothing. With --save a message is on disk
before it is answered.")]
pub(crate) struct Listen {
    /// Port to listen on; 0 takes a free one and says which.
    #[arg(long)]
    pub(crate) port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// Answer every message with this code: AA, AE, AR, CA, CE, CR, or `none` for silence.
    #[arg(long, value_parser = reply, value_name = "CODE")]
    pub(crate) ack: Option<Reply>,
    /// Folder for received messages, one file each.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// End after so many messages.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    /// One JSON object a message, as `parse --json` prints it.
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
    /// Do not print messages.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What `listen` answers whatever comes.
#[derive(Clone, Copy)]
pub(crate) enum Reply {
    Code(AckCode),
    Silence,
}

fn reply(text: &str) -> Result<Reply, String> {
    match text {
        "none" => Ok(Reply::Silence),
        _ => AckCode::from_text(text)
            .map(Reply::Code)
            .ok_or_else(|| "it is one of AA AE AR CA CE CR none".to_owned()),
    }
}
