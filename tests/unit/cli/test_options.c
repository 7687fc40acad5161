/* The option parser: what is understood, what is refused, and how it is said. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "base/time.h"
#include "cli/options.h"

struct shared {
    int64_t depth;
    struct option_list pairs;
};

struct sample {
    struct shared shared;
    bool flag, other;
    const char *text;
    struct option_list list, files;
    int64_t count;
    double number;
    duration_ns time;
    uint64_t size;
    int choice;
    const char *set;
};

static enum weir_status set_it(void *into, const char *value, struct weir_error *err)
{
    (void)err;
    ((struct sample *)into)->set = value;
    return WEIR_OK;
}

#define AT(f) .at = offsetof(struct sample, f)
static const struct option_spec specs[] = {
    {.name = "flag", .letter = 'f', .kind = OPTION_FLAG, .group = "A", .help = "a flag", AT(flag)},
    {.name = "other",
     .letter = 'x',
     .kind = OPTION_FLAG,
     .group = "A",
     .help = "another",
     AT(other)},
    {.name = "text",
     .letter = 't',
     .kind = OPTION_TEXT,
     .argument = "T",
     .group = "A",
     .help = "words that are long enough to be wrapped onto a second line of the help text",
     AT(text)},
    {.name = "list", .kind = OPTION_LIST, .argument = "L", .group = "B", .help = "many", AT(list)},
    {.name = "jobs",
     .letter = 'j',
     .kind = OPTION_COUNT,
     .argument = "N",
     .min = 1,
     .max = 100,
     .group = "B",
     .help = "how many",
     AT(count)},
    {.name = "number",
     .kind = OPTION_NUMBER,
     .argument = "X",
     .min = 0,
     .max = 2,
     .group = "B",
     .help = "fraction",
     AT(number)},
    {.name = "time",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     .min = 1,
     .max = 60,
     .group = "B",
     .help = "how long",
     AT(time)},
    {.name = "size",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     .min = 1,
     .max = 4096,
     .group = "B",
     .help = "how large",
     AT(size)},
    {.name = "choice",
     .kind = OPTION_CHOICE,
     .argument = "C",
     .choices = "auto|1.1|2",
     .group = "B",
     .help = "which",
     AT(choice)},
    {.name = "set",
     .kind = OPTION_SET,
     .argument = "S",
     .set = set_it,
     .group = "B",
     .help = "own"},
};
static const struct option_spec shared_specs[] = {
    {.name = "depth",
     .letter = 'd',
     .kind = OPTION_COUNT,
     .argument = "N",
     .group = "C",
     .help = "how deep",
     .at = offsetof(struct shared, depth)},
    {.name = "pair",
     .kind = OPTION_PAIR,
     .argument = "V",
     .group = "C",
     .help = "kept with its name",
     .at = offsetof(struct shared, pairs)},
    {.name = "bare",
     .kind = OPTION_PAIR,
     .group = "C",
     .help = "the same without a value",
     .at = offsetof(struct shared, pairs)},
};
static const struct options_part parts[] = {
    {specs, sizeof(specs) / sizeof(specs[0]), 0},
    {shared_specs, sizeof(shared_specs) / sizeof(shared_specs[0]), offsetof(struct sample, shared)},
};
static const struct options_table table = {
    .command = "weir try",
    .usage = "[options] [FILE...]",
    .intro = "Tries.",
    .outro = "End.",
    .parts = parts,
    .part_count = sizeof(parts) / sizeof(parts[0]),
    .positional_at = offsetof(struct sample, files),
    .takes_positional = true,
};

static struct args args;
static struct weir_error err;

static enum weir_status parse(struct sample *s, const char *line)
{
    memset(s, 0, sizeof(*s));
    memset(&err, 0, sizeof(err));
    args_free(&args);
    args = args_of(line);
    return options_parse(&table, args.count, args.items, s, &err);
}

static void done(struct sample *s)
{
    option_list_free(&s->list);
    option_list_free(&s->shared.pairs);
    option_list_free(&s->files);
    args_free(&args);
    args.count = 0;
}

static void every_kind_is_stored(void **state)
{
    struct sample s;

    (void)state;
    assert_int_equal(
        parse(&s, "try --flag --text=a=b --list x --list=y --jobs 12 --number 0.5 --time 1.5s "
                  "--size 2k --choice 1.1 --set v file1 -- --flag -"),
        WEIR_OK);
    assert_true(s.flag);
    assert_false(s.other);
    assert_string_equal(s.text, "a=b");
    assert_int_equal(s.list.count, 2);
    assert_string_equal(s.list.items[1], "y");
    assert_int_equal(s.count, 12);
    assert_true(s.number == 0.5);
    assert_int_equal(s.time, 1500 * NS_PER_MS);
    assert_int_equal(s.size, 2048);
    assert_int_equal(s.choice, 1);
    assert_string_equal(s.set, "v");
    assert_int_equal(s.files.count, 3);
    assert_string_equal(s.files.items[0], "file1");
    assert_string_equal(s.files.items[1], "--flag");
    assert_string_equal(s.files.items[2], "-");
    done(&s);
}

static void letters_are_understood_in_all_forms(void **state)
{
    struct sample s;

    (void)state;
    assert_int_equal(parse(&s, "try -j8"), WEIR_OK);
    assert_int_equal(s.count, 8);
    assert_int_equal(parse(&s, "try -j 9"), WEIR_OK);
    assert_int_equal(s.count, 9);
    assert_int_equal(parse(&s, "try -j=7"), WEIR_OK);
    assert_int_equal(s.count, 7);
    assert_int_equal(parse(&s, "try -fxj6 -"), WEIR_OK);
    assert_true(s.flag && s.other);
    assert_int_equal(s.count, 6);
    assert_int_equal(s.files.count, 1);
    done(&s);
}

static void the_last_of_a_single_option_counts(void **state)
{
    struct sample s;

    (void)state;
    assert_int_equal(parse(&s, "try --text a --text b"), WEIR_OK);
    assert_string_equal(s.text, "b");
    done(&s);
}

static void what_is_refused_is_named_with_the_remedy(void **state)
{
    static const struct {
        const char *line, *part, *also;
    } cases[] = {
        {"try --jbos 3", "unknown option --jbos", "did you mean --jobs?"},
        {"try --jobs=0", "--jobs: ", "0"},
        {"try --jobs x", "--jobs: ", "x"},
        {"try --jobs", "--jobs needs an argument", "--jobs N"},
        {"try -j", "--jobs needs an argument", "--jobs N"},
        {"try --text --flag", "--text needs an argument", "--text=--flag"},
        {"try --text --", "--text needs an argument", "--text=--"},
        {"try --flag=1", "--flag takes no argument", ""},
        {"try --job 3", "unknown option --job", "--jobs"},
        {"try --zzzzzzzz", "unknown option --zzzzzzzz", "weir try --help"},
        {"try -z", "unknown option -z", "weir try --help"},
        {"try --choice 3", "--choice: \"3\" is none of", "auto|1.1|2"},
        {"try --choice 1", "--choice: ", "none of"},
        {"try --time 61", "--time: ", "out of range"},
        {"try --time 0.5", "--time: ", "out of range"},
        {"try --size 5k", "--size: ", "out of range"},
        {"try --number 3", "--number: ", "3"},
        {"try --", "", ""},
    };
    struct sample s;

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(&s, cases[i].line), WEIR_E_INVALID);
        assert_contains(err.message, cases[i].part);
        assert_contains(err.message, cases[i].also);
        done(&s);
    }
}

static void an_option_name_that_looks_like_one_is_a_value_when_it_is_none(void **state)
{
    struct sample s;

    (void)state;
    assert_int_equal(parse(&s, "try --text --nothing-known"), WEIR_OK);
    assert_string_equal(s.text, "--nothing-known");
    assert_int_equal(parse(&s, "try --text -1"), WEIR_OK);
    assert_string_equal(s.text, "-1");
    done(&s);
}

static void a_very_long_unknown_option_is_cut_in_the_error(void **state)
{
    char *word = malloc(5000);
    char *argv[] = {(char[]){"try"}, word};
    struct sample s = {0};

    (void)state;
    memset(word, 'a', 4999);
    memcpy(word, "--", 2);
    word[4999] = '\0';
    assert_int_equal(options_parse(&table, 2, argv, &s, &err), WEIR_E_INVALID);
    assert_contains(err.message, "weir try --help");
    free(word);
}

static void the_nearest_name_is_found_and_no_far_one(void **state)
{
    static const char *const names[] = {"run", "mock", "version", "help", NULL};

    (void)state;
    assert_string_equal(options_nearest("rnu", names), "run");
    assert_string_equal(options_nearest("mokc", names), "mock");
    assert_string_equal(options_nearest("ver", names), "version");
    assert_null(options_nearest("dance", names));
    assert_null(options_nearest("", names));
}

static void help_names_each_option_once_and_keeps_to_the_width(void **state)
{
    struct buf out = {0};
    const char *line;

    (void)state;
    options_help(&table, 60, &out);
    assert_false(out.failed);
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        char name[40];
        const char *at;

        snprintf(name, sizeof(name), "--%s", specs[i].name);
        at = strstr(out.data, name);
        assert_non_null(at);
        assert_null(strstr(at + 1, name));
    }
    assert_contains(out.data, "  -j, --jobs N");
    for (line = out.data; *line; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 60);
        assert_true(strcspn(line, "\n") == 0 || line[strcspn(line, "\n") - 1] != ' ');
    }
    buf_free(&out);
}

static void a_part_that_is_shared_counts_from_its_own_struct(void **state)
{
    struct sample s;
    struct buf out = {0};

    (void)state;
    assert_int_equal(parse(&s, "try -d 7 --jobs 3"), WEIR_OK);
    assert_int_equal(s.shared.depth, 7);
    assert_int_equal(s.count, 3);
    done(&s);
    assert_int_equal(parse(&s, "try --dept 7"), WEIR_E_INVALID);
    assert_contains(err.message, "did you mean --depth?");
    done(&s);
    options_help(&table, 60, &out);
    assert_contains(out.data, "\nC:\n  -d, --depth N");
    buf_free(&out);
}

static void pairs_keep_names_values_and_order(void **state)
{
    struct sample s;

    (void)state;
    assert_int_equal(parse(&s, "try --pair a --bare --pair=b"), WEIR_OK);
    assert_int_equal(s.shared.pairs.count, 6);
    assert_string_equal(s.shared.pairs.items[0], "pair");
    assert_string_equal(s.shared.pairs.items[1], "a");
    assert_string_equal(s.shared.pairs.items[2], "bare");
    assert_null(s.shared.pairs.items[3]);
    assert_string_equal(s.shared.pairs.items[5], "b");
    done(&s);
}

static void a_lack_of_memory_is_told(void **state)
{
    struct sample s;
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    do {
        args_free(&args);
        args = args_of("try --list a --list b --list c d e");
        memset(&s, 0, sizeof(s));
        mem_fail_at(++n);
        status = options_parse(&table, args.count, args.items, &s, &err);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
        option_list_free(&s.list);
        option_list_free(&s.files);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 3);
    done(&s);
}

/* A table that keeps what stands behind -- apart, and notes what was given. */
static void what_stands_behind_two_dashes_can_be_kept_apart(void **state)
{
    struct kept {
        struct sample sample;
        struct option_list rest;
        struct options_given given;
    } k = {0};
    struct options_table keeping = table;
    struct args a = args_of("try -j3 file -f --depth=2 -- cmd -f -- --text");

    (void)state;
    keeping.rest_at = offsetof(struct kept, rest);
    keeping.takes_rest = true;
    keeping.given_at = offsetof(struct kept, given);
    keeping.notes_given = true;
    assert_int_equal(options_parse(&keeping, a.count, a.items, &k, &err), WEIR_OK);
    assert_int_equal(k.rest.count, 4);
    assert_string_equal(k.rest.items[0], "cmd");
    assert_string_equal(k.rest.items[2], "--");
    assert_int_equal(k.sample.files.count, 1);
    assert_null(k.sample.text);
    assert_int_equal(k.given.count, 3);
    assert_ptr_equal(options_find_given(&k.given, "depth"), &shared_specs[0]);
    assert_null(options_find_given(&k.given, "text"));
    options_given_free(&k.given);
    option_list_free(&k.rest);
    option_list_free(&k.sample.files);
    args_free(&a);
}

static void a_negative_number_is_positional_where_the_table_says_so(void **state)
{
    struct options_table taking = table;
    struct sample s = {0};
    struct args a = args_of("try 17 -5 -f");

    (void)state;
    taking.takes_negative = true;
    assert_int_equal(options_parse(&taking, a.count, a.items, &s, &err), WEIR_OK);
    assert_int_equal(s.files.count, 2);
    assert_string_equal(s.files.items[1], "-5");
    assert_true(s.flag);
    done(&s);
    s = (struct sample){0};
    assert_int_equal(options_parse(&table, a.count, a.items, &s, &err), WEIR_E_INVALID);
    done(&s);
    args_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stands_behind_two_dashes_can_be_kept_apart),
        cmocka_unit_test(every_kind_is_stored),
        cmocka_unit_test(letters_are_understood_in_all_forms),
        cmocka_unit_test(the_last_of_a_single_option_counts),
        cmocka_unit_test(what_is_refused_is_named_with_the_remedy),
        cmocka_unit_test(an_option_name_that_looks_like_one_is_a_value_when_it_is_none),
        cmocka_unit_test(a_very_long_unknown_option_is_cut_in_the_error),
        cmocka_unit_test(the_nearest_name_is_found_and_no_far_one),
        cmocka_unit_test(help_names_each_option_once_and_keeps_to_the_width),
        cmocka_unit_test(a_part_that_is_shared_counts_from_its_own_struct),
        cmocka_unit_test(pairs_keep_names_values_and_order),
        cmocka_unit_test(a_negative_number_is_positional_where_the_table_says_so),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
