"""docs/openapi.yaml and the table of routes say the same: every route, role and query parameter. And the document is
sound: all references lead somewhere, names are unique, examples are what their schemas say.

run-tests: waits
"""
import json
import os
import re
import unittest

import yaml

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
METHODS = ("get", "post", "patch", "put", "delete")


def routes_in_c():
    """(method, path) -> (role, query parameters), out of the table in routes.c."""
    with open(os.path.join(ROOT, "src/serve/api/routes.c"), encoding="utf-8") as f:
        text = f.read()
    filters = re.search(r"#define TASK_FILTERS\s+((?:[^\n]*\\\n)*[^\n]*)", text).group(1)
    table = text[text.index("routes[] = {"):].replace("TASK_FILTERS", filters)
    found = {}
    for row in re.split(r"\{\s*\.method", table)[1:]:
        method = re.search(r'=\s*"(\w+)"', row).group(1).lower()
        path = re.search(r'\.pattern\s*=\s*"([^"]+)"', row).group(1)
        role = re.search(r"HTTP_ROLE_(\w+)", row).group(1).lower()
        query = re.search(r"QUERY\(([^)]*)\)", row)
        names = set(re.findall(r'"(\w+)"', query.group(1))) if query else set()
        assert (method, path) not in found, f"{method} {path} stands there twice"
        found[(method, path)] = (role, names)
    return found


class Openapi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
            cls.doc = yaml.safe_load(f)

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def operations(self):
        for path, item in self.doc["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item[method], item.get("parameters", []) + item[method].get("parameters", [])

    def test_each_route_is_described_and_nothing_else(self):
        described = {}
        for method, path, operation, parameters in self.operations():
            parameters = [self.resolve(p) for p in parameters]
            query = {p["name"] for p in parameters if p["in"] == "query"}
            in_path = {p["name"] for p in parameters if p["in"] == "path"}
            self.assertEqual(in_path, set(re.findall(r"\{(\w+)\}", path)), path)
            described[(method, path)] = (operation["x-role"], query)
        self.assertEqual(described, routes_in_c())

    def test_references_lead_somewhere(self):
        def walk(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    self.assertIsNotNone(self.resolve(node), node["$ref"])
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)
        walk(self.doc)

    def test_what_is_declared_is_used(self):
        text = json.dumps(self.doc)
        for kind, names in self.doc["components"].items():
            if kind == "securitySchemes":
                continue
            for name in names:
                self.assertIn(f'"#/components/{kind}/{name}"', text, f"nothing refers to {kind}/{name}")

    def test_operations_have_names_of_their_own_and_answers(self):
        names = [o["operationId"] for _, _, o, _ in self.operations()]
        self.assertEqual(len(names), len(set(names)))
        for method, path, operation, _ in self.operations():
            with self.subTest(f"{method} {path}"):
                self.assertTrue(operation["summary"])
                self.assertTrue(any(code.startswith("2") for code in operation["responses"]))
                if operation["x-role"] != "none":
                    self.assertIn("401", operation["responses"])
                if operation["x-role"] in ("submit", "operate"):
                    self.assertIn("403", operation["responses"])
                if "{" in path and path != "/web/{file}":
                    self.assertIn("404", operation["responses"])

    def test_fields_of_bodies_are_those_that_are_read(self):
        with open(os.path.join(ROOT, "src/serve/api/task_in.c"), encoding="utf-8") as f:
            text = f.read()
        tables = {"TaskIn": "task_table"}
        for schema, table in tables.items():
            rows = text[text.index(f"{table}[] = {{"):]
            rows = rows[:rows.index("\n};")]
            read = set(re.findall(r'FIELD\([^"]*"(\w+)"', rows))
            self.assertEqual(read, set(self.doc["components"]["schemas"][schema]["properties"]))

    def test_examples_are_what_their_schemas_say(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("python3-jsonschema is not installed")

        def check(schema, value):
            jsonschema.Draft202012Validator({**schema, "components": self.doc["components"]}).validate(value)

        count = 0
        for method, path, operation, _ in self.operations():
            contents = [self.resolve(r).get("content", {}) for r in operation["responses"].values()]
            contents.append(self.resolve(operation.get("requestBody", {})).get("content", {}))
            for content in contents:
                for kind, media in content.items():
                    if "json" not in kind or "ndjson" in kind:
                        continue
                    values = [media["example"]] if "example" in media else []
                    values += [e["value"] for e in media.get("examples", {}).values()]
                    for value in values:
                        with self.subTest(f"{method} {path}"):
                            check(media["schema"], value)
                            count += 1
        self.assertGreater(count, 20)


if __name__ == "__main__":
    unittest.main()
