"""Validates lines of a recording (stdin) against the JSON Schema of the format (argument): an independent reader.

The schema lets future fields pass; those that this version writes are all in it, so here an unknown field is an error.
"""
import json
import sys

from jsonschema import Draft202012Validator


def close(schema):
    """Forbids fields that the schema does not name. A definition beside whose $ref further fields stand stays open."""
    shared = set()

    def look(node):
        if isinstance(node, dict):
            if "$ref" in node and "properties" in node:
                shared.add(node["$ref"])
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(schema)
    definitions = [of for name, of in schema["$defs"].items() if f"#/$defs/{name}" not in shared]
    for node in definitions + schema["oneOf"]:
        if "properties" in node and "additionalProperties" not in node:
            node["unevaluatedProperties"] = False


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    close(schema)
    # By type: errors then name the field, and not that no type of line fits.
    lines_of = {}
    for line in schema["oneOf"]:
        own = {"$defs": schema["$defs"], **line}
        lines_of[line["properties"]["type"]["const"]] = Draft202012Validator(own)
    for number, text in enumerate(sys.stdin, 1):
        line = json.loads(text)
        for error in lines_of[line["type"]].iter_errors(line):
            path = "/".join(str(step) for step in error.absolute_path)
            sys.exit(f"line {number}, {path}: {error.message}\n{text}")


main()
