//! The typed client.
/// x
pub struct Client;
/// x
pub struct ClientError;
