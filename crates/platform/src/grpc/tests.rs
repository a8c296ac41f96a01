mod access;
mod drain;
mod limits;
mod overload;
mod requests;
mod telemetry;
