mod postgres;
fn main() {
    let server = postgres::PrivatePostgres::start(std::path::Path::new("/tmp/launch")).unwrap();
    println!("{:?}", server.connect_options());
    server.stop().unwrap();
}
