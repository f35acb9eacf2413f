"""``config-validate``: exit codes and both formats."""

from nodepool_tx.cli.outcome import ExitCode
from tests.cli.stage import CONFIG, CommandLineTestCase, Run

BAD = CONFIG.replace("labels: debian", "labels: debain")


class ValidatingTests(CommandLineTestCase):
    def validate(self, text: str, *words: str) -> Run:
        self.config.write_text(text)
        return self.run_to_end("config-validate", *words)

    def test_a_good_configuration(self) -> None:
        """Is summed up in one line."""
        run = self.validate(CONFIG)
        self.assertEqual(run.code, ExitCode.OK)
        self.assertEqual(
            run.stdout, f"{self.config}: ok, 1 provider, 1 pool, 1 label, 1 static node\n"
        )

    def test_a_bad_configuration(self) -> None:
        """Tells all errors with their places, and fails."""
        run = self.validate(BAD)
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn(f"{self.config}:13:21: ", run.stdout)
        self.assertIn("did you mean debian?", run.stdout)

    def test_errors_for_programs(self) -> None:
        """Each with file, line, path in the structure and message."""
        run = self.validate(BAD, "--format", "json")
        self.assertEqual(run.code, ExitCode.FAILED)
        found = self.rows(run)
        (error,) = found["errors"]
        self.assertEqual(
            (error["file"], error["line"], error["column"]), (str(self.config), 13, 21)
        )
        self.assertEqual(error["path"], "providers[0].pools[0].nodes[0].labels")
        self.assertIn("debain", error["message"])
        self.assertIs(found["ok"], False)
        self.assertEqual(found["omitted"], 0)

    def test_errors_in_csv(self) -> None:
        """One row for each, after how bad it is."""
        header, row = self.validate(BAD, "--format", "csv").stdout.splitlines()
        self.assertEqual(header, "severity,file,line,column,path,message,hint")
        self.assertTrue(row.startswith(f"error,{self.config},13,21,providers[0].pools[0]."), row)

    def test_a_good_configuration_for_programs(self) -> None:
        """Has no errors, and warnings where there are some."""
        found = self.rows(self.validate(CONFIG, "--format", "json"))
        self.assertEqual(
            found,
            {"config": str(self.config), "ok": True, "errors": [], "omitted": 0, "warnings": []},
        )

    def test_a_file_that_is_not_there(self) -> None:
        """Is an error about the file as a whole."""
        run = self.run_to_end("-c", "/nowhere/nodepool.yaml", "config-validate", "--format", "json")
        self.assertEqual(run.code, ExitCode.FAILED)
        (error,) = self.rows(run)["errors"]
        self.assertEqual((error["file"], error["line"]), ("/nowhere/nodepool.yaml", 0))

    def test_it_needs_no_zookeeper(self) -> None:
        """A configuration is validated before there is anything."""
        run = self.start("config-validate", reachable=False)
        self.assertEqual(run.code, ExitCode.OK)
