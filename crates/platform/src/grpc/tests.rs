mod access;
mod drain;
mod limits;
mod requests;
mod telemetry;
