// Print what dcmjs reads in structured reports: one JSON array, an entry per file.
"use strict";
const { readFileSync } = require("node:fs");
const dcmjs = require("dcmjs");

dcmjs.log.setLevel("error");

// An item of one is naturalised to an array that passes for the item itself.
const list = (items) => (items === undefined ? [] : Array.isArray(items) ? items : [items]);
const code = (items) => {
    const [item] = list(items);
    return item && [item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning];
};

function read(item) {
    const [measured] = list(item.MeasuredValueSequence);
    const [reference] = list(item.ReferencedSOPSequence);
    return {
        type: item.ValueType,
        name: code(item.ConceptNameCodeSequence),
        text: item.TextValue,
        code: code(item.ConceptCodeSequence),
        number: measured && Number(list(measured.NumericValue)[0]),
        unit: measured && code(measured.MeasurementUnitsCodeSequence),
        image: reference && reference.ReferencedSOPInstanceUID,
        items: list(item.ContentSequence).map(read),
    };
}

function open(path) {
    const bytes = readFileSync(path);
    const file = dcmjs.data.DicomMessage.readFile(
        bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
    );
    const dataset = dcmjs.data.DicomMetaDictionary.naturalizeDataset(file.dict);
    return {
        sop_class: dataset.SOPClassUID,
        patient_id: dataset.PatientID,
        patient_name: list(dataset.PatientName)[0],
        root: read(dataset),
    };
}

console.log(JSON.stringify(process.argv.slice(2).map(open)));
