//! Packages, folders and names: the part of buf's STANDARD that the generated code relies on.

use heck::ToUpperCamelCase;
use prost_reflect::{EnumDescriptor, FileDescriptor};

use crate::load::Loaded;
use crate::names;
use crate::report::{Place, Report};

pub(crate) fn check(contracts: &Loaded, report: &mut Report) {
    for file in &contracts.files {
        package(contracts, file, report);
    }
    for message in contracts.messages() {
        pascal(&message, message.name(), report);
        for field in message
            .fields()
            .filter(|field| !names::is_snake(field.name()))
        {
            report.refuse(
                &field,
                format!("field `{}` is not in lower_snake_case", field.name()),
            );
        }
    }
    for values in contracts.enums() {
        pascal(&values, values.name(), report);
        enumeration(&values, report);
    }
    for service in contracts.services() {
        pascal(&service, service.name(), report);
        if !service.name().ends_with("Service") {
            report.refuse(
                &service,
                format!("service `{}` does not end in `Service`", service.name()),
            );
        }
        for method in service.methods() {
            pascal(&method, method.name(), report);
        }
    }
}

fn package(contracts: &Loaded, file: &FileDescriptor, report: &mut Report) {
    let package = file.package_name();
    let words: Vec<_> = package.split('.').collect();
    let well_formed = match words[..] {
        [brand, service, version] => {
            let number = version.strip_prefix('v').unwrap_or_default();
            brand == contracts.brand
                && names::is_snake(service)
                && !number.starts_with('0')
                && number.parse::<u32>().is_ok()
        }
        _ => false,
    };
    if !well_formed {
        report.refuse(
            file,
            format!(
                "package `{package}` is not `{}.<service>.v<number>`",
                contracts.brand
            ),
        );
        return;
    }
    let folder = words.join("/");
    if file.name().rsplit_once('/').map(|(folder, _)| folder) != Some(&folder) {
        report.refuse(
            file,
            format!("package `{package}` belongs in the folder `{folder}`"),
        );
    }
}

fn enumeration(values: &EnumDescriptor, report: &mut Report) {
    let prefix = names::prefix(values);
    for value in values.values() {
        let rest = value.name().strip_prefix(&prefix);
        if !rest.is_some_and(names::is_shouty) {
            report.refuse(
                &value,
                format!(
                    "enum value `{}` is not `{prefix}` and a word in capitals",
                    value.name()
                ),
            );
        } else if (value.number() == 0) != (rest == Some("UNSPECIFIED")) {
            report.refuse(
                &value,
                format!("the value 0 of an enum, and no other, is `{prefix}UNSPECIFIED`"),
            );
        }
    }
}

fn pascal(at: &impl Place, name: &str, report: &mut Report) {
    if name != name.to_upper_camel_case() {
        report.refuse(
            at,
            format!(
                "`{name}` is not in PascalCase: `{}`",
                name.to_upper_camel_case()
            ),
        );
    }
}
