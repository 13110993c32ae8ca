//! A name server that knows every name, and a web server that has the answer to every challenge of one account.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

/// Answers 127.0.0.1 for every name, as long as the process lives; returns the port.
pub(crate) fn answer_names() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = socket.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let mut answer = Message::response(question.id, question.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.response_code = ResponseCode::NoError;
            answer.metadata.recursion_available = true;
            for query in &question.queries {
                answer.add_query(query.clone());
                if query.query_type() == RecordType::A {
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(Ipv4Addr::LOCALHOST))));
                }
            }
            // Whoever asked may have gone.
            drop(socket.send_to(&answer.to_vec().expect("a small message"), client));
        }
    });
    port
}

/// Answers every challenge with its token and the thumbprint, as long as the process lives; returns the port.
pub(crate) fn answer_challenges(thumbprint: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    for _ in 0..4 {
        let (listener, thumbprint) = (listener.try_clone().expect("one more handle"), thumbprint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut first = String::new();
                let mut line = String::new();
                if reader.read_line(&mut first).is_err() {
                    continue;
                }
                while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                let token = first.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                let body = format!("{token}.{thumbprint}");
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                // Whoever asked may have gone.
                drop(reader.get_mut().write_all(answer.as_bytes()));
            }
        });
    }
    port
}
