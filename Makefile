# weir: build, check, test, install.
#
#   make             build/weir, build/libweir.so, build/libweir.a
#   make deps        installs the Debian packages that are missing (as root or by sudo)
#   make demo        the main job, end to end, in under two minutes; installs what is missing first
#   make check       what a change must pass before it is committed: about a minute
#   make test        everything; installs what is missing first; what CI runs
#   make bench       weir beside what else there is, about 45 minutes; BENCH="http rows" only these, ROUNDS=9
#   make fuzz        each fuzz target for FUZZ_SECONDS (default 30)
#   make format      lays out the sources
#   make plots       draws the plots of docs/internals/ again
#   make install     PREFIX=/usr/local by default; DESTDIR is honoured; make uninstall takes it away again
#   make tests       only builds the tests; SAN=address or SAN=thread builds them into build-$(SAN)/
#   make clean
#
# One source list, several builds: each variant has a folder of its own (BUILD), so that none disturbs
# another and each is compiled once. `make test` is this Makefile called once for each variant, and then one
# call of tools/run-tests, so that all results end in one line.

# ---- What is built, and where ------------------------------------------------------------------------------

VERSION := 0.1.0
SOVERSION := 0
SAN ?=
FUZZ ?=
BUILD ?= build$(if $(SAN),-$(SAN))$(if $(FUZZ),-fuzz)

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share/weir
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
DESTDIR ?=

FUZZ_SECONDS ?= 30
# Benchmarks by name (all), and rounds that count, after the warm-up.
BENCH ?=
ROUNDS ?= 5
# Seeds of the simulator: a taste, everything, and a sample under a sanitizer; and those of random lives in unit tests.
SEEDS_CHECK ?= 300
SEEDS_TEST ?= 10000
SEEDS_SAN ?= 300
SEEDS_UNIT ?= 2000
# Tasks that are listed page by page.
MASS ?= 1000000

# ---- How make runs -----------------------------------------------------------------------------------------

# As many jobs as processors, each one's output in one piece; a make that was called by a make shares its jobs.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j% --jobs%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
MAKEFLAGS += --output-sync=target --no-print-directory
endif
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
# No built-in rules: none is used, and looking through them takes time.
MAKEFLAGS += -r

# One short line for each command; V=1 shows the commands.
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# ---- Compilers and flags -----------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := $(if $(FUZZ),clang,gcc)
endif

PKGS_LIB := libuv libcurl sqlite3 libxxhash
PKGS_CLI := libmicrohttpd yaml-0.1 libcyaml nettle libsystemd ncursesw

# WERROR= (empty) for a compiler that nobody here has tried.
WERROR ?= -Werror
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wpointer-arith -Wwrite-strings -Wundef $(WERROR)
# A sanitizer's report needs lines, not types: a third of the time and of the room.
CFLAGS ?= $(if $(SAN),-O1 -g1,$(if $(FUZZ),-O1 -g,-O2 -g))
CPPFLAGS_ALL := -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -Iinclude $(CPPFLAGS)
CFLAGS_ALL = -std=gnu17 $(WARNINGS) -fvisibility=hidden -fPIC -pthread $(CFLAGS) $(SANFLAGS)
LDFLAGS_ALL = -Wl,--as-needed $(LDFLAGS)

ifneq ($(FUZZ),)
SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SAN),address)
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SAN),thread)
SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer
else ifneq ($(SAN),)
$(error SAN is address or thread, not '$(SAN)')
endif

# Looked up once, and only when something is compiled, so that `make deps` runs where none of them is installed.
once = $(eval $(1) := $$(shell $(2)))$($(1))
PKG_CFLAGS = $(call once,PKG_CFLAGS,pkg-config --cflags $(PKGS_LIB) $(PKGS_CLI))
PKG_LIBS = $(call once,PKG_LIBS,pkg-config --libs $(PKGS_LIB))
LIB_LIBS = $(PKG_LIBS) -lm
CLI_LIBS_PKG = $(call once,CLI_LIBS_PKG,pkg-config --libs $(PKGS_CLI))
CLI_LIBS = $(CLI_LIBS_PKG) -ljq

# ---- Sources -----------------------------------------------------------------------------------------------

find_c = $(sort $(foreach d,$(1),$(if $(wildcard $(d)),$(shell find $(d) -name '$(2)'))))

LIB_SRC := $(call find_c,$(addprefix src/,base flow core loop exec store observe engine),*.c)
CLI_SRC := $(call find_c,src/sim src/serve src/cli,*.c)
UNIT_SRC := $(call find_c,tests/unit tests/contract,test_*.c)
SIM_SRC := $(call find_c,tests/simulation,test_*.c)
# Worlds of tests that are more than one file: linked with all of them.
SUPPORT_SRC := $(call find_c,tests/support tests/simulation/desk,*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
EXAMPLE_SRC := $(wildcard examples/*.c)
WORKER_SRC := $(wildcard examples/workers/*.c)
PUBLIC_HEADERS := $(wildcard include/weir/*.h)

LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(BUILD)/%.o)
# What tests link of the command; its main() stays out.
CLI_TEST_OBJ := $(filter-out $(BUILD)/src/cli/main.o,$(CLI_OBJ))

# ---- The product -------------------------------------------------------------------------------------------

.PHONY: all
# Half a tree builds too: what has no sources yet is left out.
all: $(if $(wildcard src/cli/main.c),$(BUILD)/weir) \
     $(if $(LIB_SRC)$(SAN)$(FUZZ),$(if $(SAN)$(FUZZ),,$(BUILD)/libweir.so $(BUILD)/libweir.a))

# Other flags or another list of sources: everything that came of the old ones is built again.
FLAGS_NOW = $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LIB_SRC) $(CLI_SRC)
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' $(call quote,$(FLAGS_NOW)) | cmp -s - $@ || printf '%s\n' $(call quote,$(FLAGS_NOW)) >$@
quote = '$(subst ','\'',$(1))'
.PHONY: force
force:

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# The assembler reads it (.incbin), which the compiler's list of what a source depends on does not say.
$(BUILD)/src/serve/api/openapi.o: docs/openapi.yaml
$(BUILD)/src/serve/web/web.o: $(wildcard web/*)

# All of the library's objects, with internal symbols: what the command and the tests link.
$(BUILD)/internal.a: $(LIB_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $(LIB_OBJ)

$(BUILD)/weir: $(CLI_OBJ) $(BUILD)/internal.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(CLI_OBJ) $(BUILD)/internal.a $(LIB_LIBS) $(CLI_LIBS)

# The file that programs are linked to says its soname; the soname's link stands beside it for those that run.
$(BUILD)/libweir.so: $(LIB_OBJ) $(BUILD)/flags
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -shared -Wl,-soname,libweir.so.$(SOVERSION) -Wl,-z,defs -o $@ \
	    $(LIB_OBJ) $(LIB_LIBS)
	@ln -sf libweir.so $(BUILD)/libweir.so.$(SOVERSION)

# One object in which only weir_* is visible, so that the names inside cannot clash with a user's.
$(BUILD)/libweir.a: $(LIB_OBJ) $(BUILD)/flags
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ld -r -o $(BUILD)/libweir.o $(LIB_OBJ)
	$(Q)objcopy -w --keep-global-symbol='weir_*' $(BUILD)/libweir.o
	$(Q)ar rcs $@ $(BUILD)/libweir.o

# ---- Tests and examples ------------------------------------------------------------------------------------

# tests/unit/base/test_x.c -> build/tests/unit/base/test_x, linked with everything inside.
# What has one thread has no race: these start none, and their tests say nothing under the thread sanitizer.
ONE_THREAD := $(addprefix tests/unit/,base/% flow/% core/% sim/% cli/top/% cli/input/test_check.c \
    cli/command/test_columns.c) tests/simulation/%
of_variant = $(if $(filter thread,$(1)),$(filter-out $(ONE_THREAD),$(2)),$(2))
TEST_BIN := $(patsubst %.c,$(BUILD)/%,$(call of_variant,$(SAN),$(UNIT_SRC) $(SIM_SRC)))
FUZZ_BIN := $(FUZZ_SRC:%.c=$(BUILD)/%)
EXAMPLE_BIN := $(EXAMPLE_SRC:%.c=$(BUILD)/%)
WORKER_BIN := $(WORKER_SRC:%.c=$(BUILD)/%)
INSIDE := $(CLI_TEST_OBJ) $(BUILD)/internal.a
# Hundreds of programs, each with everything inside: gold, where binutils has it, links them in half the time.
TEST_LD := $(if $(shell command -v ld.gold 2>/dev/null),-fuse-ld=gold)

$(BUILD)/tests/%.o: CPPFLAGS_ALL += -Itests
$(TEST_BIN): $(BUILD)/%: $(BUILD)/%.o $(SUPPORT_OBJ) $(INSIDE)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(TEST_LD) -o $@ $< $(SUPPORT_OBJ) $(INSIDE) $(LIB_LIBS) $(CLI_LIBS) -lcmocka

# A fuzz target is linked with the fuzzer, or with what replays the inputs that it once found.
FUZZ_MAIN := $(if $(FUZZ),,$(BUILD)/tests/fuzz/replay.o)
$(FUZZ_BIN): $(BUILD)/%: $(BUILD)/%.o $(FUZZ_MAIN) $(INSIDE)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(if $(FUZZ),-fsanitize=fuzzer) $(LDFLAGS_ALL) $(TEST_LD) -o $@ $< $(FUZZ_MAIN) $(INSIDE) \
	    $(LIB_LIBS) $(CLI_LIBS)
$(FUZZ_SRC:%.c=$(BUILD)/%.o): WARNINGS += -Wno-missing-prototypes

# An example sees what a user sees: the public headers and the shared library.
$(EXAMPLE_BIN): $(BUILD)/%: %.c $(PUBLIC_HEADERS) $(BUILD)/libweir.so
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -pthread $(CFLAGS) -Iinclude -o $@ $< \
	    -L$(BUILD) -lweir -Wl,-rpath,'$$ORIGIN/..'

# A worker is spoken to, over pipes: it sees nothing of weir.
$(WORKER_BIN): $(BUILD)/%: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra $(WERROR) $(CFLAGS) -o $@ $<

# The benchmarks' own programs: NAME_weir.c has the public library, NAME_inside.c what is inside it; the other sides,
# which have nothing of weir, are compiled by the harness.
BENCH_BIN := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*_weir.c bench/*_inside.c))
$(BUILD)/bench/%_weir: bench/%_weir.c bench/benchkit.h $(PUBLIC_HEADERS) $(BUILD)/libweir.so
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -pthread $(CFLAGS) -Iinclude -o $@ $< -L$(BUILD) -lweir \
	    -Wl,-rpath,'$$ORIGIN/..'
$(filter %_inside,$(BENCH_BIN)): %: %.o $(BUILD)/internal.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/internal.a $(LIB_LIBS)

.PHONY: tests examples bench-programs
bench-programs: $(BENCH_BIN)
# The fuzz targets belong to all variants but that for threads, so that each compiles; a fuzz build has nothing else.
tests: $(if $(FUZZ),,all $(TEST_BIN)) $(if $(filter thread,$(SAN)),,$(FUZZ_BIN))
examples: $(EXAMPLE_BIN) $(WORKER_BIN)

# ---- What a change must keep -------------------------------------------------------------------------------

# Also in an unpacked archive, and in a clone that belongs to somebody else (which git refuses to read).
C_FILES = $(shell git ls-files --cached --others --exclude-standard -- '*.c' '*.h' 2>/dev/null | grep . || \
    find include src tests examples bench -name '*.[ch]' 2>/dev/null)
TIDY_SRC := $(LIB_SRC) $(CLI_SRC)

.PHONY: lint-format lint-layers lint-headers lint-style lint-tidy format
lint-format:
	@clang-format --dry-run -Werror $(C_FILES)
lint-layers:
	@tools/check-layers
lint-headers:
	@tools/check-headers . -- $(CPPFLAGS_ALL) $(PKG_CFLAGS)
lint-style:
	@tools/check-style
# clang-tidy is slow: a source is read again only when it, or a header that it includes, has changed.
lint-tidy: $(TIDY_SRC:%.c=$(BUILD)/tidy/%.ok)
$(BUILD)/tidy/%.ok: %.c $(BUILD)/%.o .clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(CPPFLAGS_ALL) -std=gnu17 $(WARNINGS) $(PKG_CFLAGS) 2>$@.log || { cat $@.log; exit 1; }
	@rm -f $@.log; touch $@
format:
	@clang-format -i $(C_FILES)

# ---- Running them ------------------------------------------------------------------------------------------

unit_of = $(patsubst %.c,$(1)/%,$(call of_variant,$(1:build-%=%),$(UNIT_SRC)))
sim_of = $(SIM_SRC:%.c=$(1)/%)
replay_of = $(foreach f,$(FUZZ_SRC:tests/fuzz/fuzz_%.c=%),$(if $(wildcard tests/fuzz/corpus/$(f)), \
    --replay $(1)/tests/fuzz/fuzz_$(f) tests/fuzz/corpus/$(f),$(1)/tests/fuzz/fuzz_$(f)))
PYTHON_TESTS = $(sort $(wildcard tests/integration/test_*.py))
# The ones that say `run-tests: sanitizers` also drive the instrumented commands.
PYTHON_SAN_TESTS = $(if $(PYTHON_TESTS),$(shell grep -l 'run-tests: sanitizers' $(PYTHON_TESTS)))
SHELL_EXAMPLES = $(sort $(wildcard examples/*.sh))
LINTS := $(foreach l,format layers headers style tidy,--command 'make -s lint-$(l)')

# What the whole test runs, variant by variant; options hold for the items after them.
ITEMS_CHECK = --variant '' --build build --env WEIR_SEEDS=$(SEEDS_CHECK) $(LINTS) \
    $(call unit_of,build) $(call sim_of,build)
ITEMS_TEST = --variant '' --build build --env WEIR_KILLS=100 --env WEIR_MASS=$(MASS) --timeout 900 $(LINTS) \
    --env WEIR_SEEDS=$(SEEDS_TEST) $(call sim_of,build) --env WEIR_SEEDS=$(SEEDS_UNIT) $(call unit_of,build) \
    $(EXAMPLE_SRC:%.c=--command build/%) $(SHELL_EXAMPLES) $(PYTHON_TESTS) \
    --variant address --build build-address --env WEIR_SEEDS=$(SEEDS_SAN) \
    $(call sim_of,build-address) $(call unit_of,build-address) $(call replay_of,build-address) $(PYTHON_SAN_TESTS) \
    --variant thread --build build-thread $(call unit_of,build-thread) $(PYTHON_SAN_TESTS)

.PHONY: deps demo check test fuzz
deps:
	@tools/install-deps build test

# Once the packages are there, a make of its own does the work: this one may have looked for what was not there yet.
demo:
	@tools/install-deps build
	+@$(MAKE) all
	+@tools/demo

check:
	@tools/install-deps --list build test || { echo 'make check: run `make deps` first'; exit 1; }
	+@$(MAKE) tests
	+@tools/run-tests $(ITEMS_CHECK)

test:
	@tools/install-deps build test
	+@{ $(MAKE) tests examples bench-programs && $(MAKE) SAN=address tests && $(MAKE) SAN=thread tests; } || \
	    { echo 'The build failed: nothing was tested.'; echo '0 passed, 1 failed'; exit 1; }
	+@tools/run-tests $(ITEMS_TEST)

fuzz:
	+@$(MAKE) FUZZ=1 tests
	+@$(MAKE) FUZZ=1 fuzz-run

# What is slow is no failure here, only what could not be measured.
.PHONY: bench
bench:
	@tools/install-deps build bench
	+@$(MAKE) -s all bench-programs
	+@bench/run.py --rounds $(ROUNDS) --json $(BUILD)/bench.json $(BENCH)

# Inputs that reach new code gather in build-fuzz/corpus/; a finding stays as build-fuzz/NAME-crash-*. To keep
# it as a test, copy it to tests/fuzz/corpus/NAME/.
.PHONY: fuzz-run
fuzz-run: $(FUZZ_SRC:tests/fuzz/fuzz_%.c=fuzz-run-%)
fuzz-run-%: force
	@mkdir -p $(BUILD)/corpus/$*
	$(BUILD)/tests/fuzz/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
	    -print_final_stats=1 -artifact_prefix=$(BUILD)/$*- $(addprefix -dict=,$(wildcard tests/fuzz/$*.dict)) \
	    $(BUILD)/corpus/$* $(wildcard tests/fuzz/corpus/$*)

# ---- Installing --------------------------------------------------------------------------------------------

INSTALLED_LIBS := libweir.so libweir.so.$(SOVERSION) libweir.so.$(VERSION) libweir.a pkgconfig/weir.pc
TO = $(DESTDIR)

.PHONY: install uninstall
install: all
	install -d $(TO)$(BINDIR) $(TO)$(LIBDIR)/pkgconfig $(TO)$(INCLUDEDIR)/weir
	$(if $(wildcard src/cli/main.c),install -m 755 $(BUILD)/weir $(TO)$(BINDIR)/weir)
	install -m 644 $(BUILD)/libweir.so $(TO)$(LIBDIR)/libweir.so.$(VERSION)
	ln -sf libweir.so.$(VERSION) $(TO)$(LIBDIR)/libweir.so.$(SOVERSION)
	ln -sf libweir.so.$(SOVERSION) $(TO)$(LIBDIR)/libweir.so
	install -m 644 $(BUILD)/libweir.a $(TO)$(LIBDIR)/libweir.a
	install -m 644 $(PUBLIC_HEADERS) $(TO)$(INCLUDEDIR)/weir/
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBS_PRIVATE@|$(strip $(LIB_LIBS))|' weir.pc.in >$(TO)$(LIBDIR)/pkgconfig/weir.pc
	chmod 644 $(TO)$(LIBDIR)/pkgconfig/weir.pc
	$(if $(wildcard docs/weir.1),install -d $(TO)$(MANDIR)/man1 && install -m 644 docs/weir.1 $(TO)$(MANDIR)/man1/weir.1)
	install -d $(TO)$(BASHDIR) $(TO)$(ZSHDIR)
	$(BUILD)/weir completion bash >$(TO)$(BASHDIR)/weir
	$(BUILD)/weir completion zsh >$(TO)$(ZSHDIR)/_weir
	chmod 644 $(TO)$(BASHDIR)/weir $(TO)$(ZSHDIR)/_weir
	install -d $(TO)$(DATADIR)/python
	install -m 644 sdk/python/weir_worker.py $(TO)$(DATADIR)/python/weir_worker.py
	$(if $(wildcard examples/weir.yml),install -d $(TO)$(DATADIR)/examples && \
	    install -m 644 examples/weir.yml examples/serve/minimal.yml $(TO)$(DATADIR)/examples/)
	$(if $(wildcard examples/systemd/weir.service),install -d $(TO)$(DATADIR)/systemd && \
	    sed -e 's|/usr/local/bin/weir|$(BINDIR)/weir|' examples/systemd/weir.service >$(TO)$(DATADIR)/systemd/weir.service && \
	    chmod 644 $(TO)$(DATADIR)/systemd/weir.service)
	@# A program finds a library in a new place only when the loader's cache knows it.
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi

uninstall:
	rm -f $(TO)$(BINDIR)/weir $(addprefix $(TO)$(LIBDIR)/,$(INSTALLED_LIBS)) $(TO)$(MANDIR)/man1/weir.1
	rm -f $(TO)$(BASHDIR)/weir $(TO)$(ZSHDIR)/_weir
	rm -rf $(TO)$(INCLUDEDIR)/weir $(TO)$(DATADIR)

# ---- Documents ---------------------------------------------------------------------------------------------

# Both throttles on the same service and seed. The pictures are in the repository, so that a reader sees them.
.PHONY: plots
plots: $(BUILD)/weir
	@mkdir -p docs/internals
	$(Q)for t in aimd adaptive; do $(BUILD)/weir simulate --service examples/services/s1.yml --duration 600s \
	    --throttle $$t --plot docs/internals/throttle-$$t.svg >/dev/null || exit 1; done

.PHONY: clean help
clean:
	rm -rf build build-address build-thread build-fuzz
help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

-include $(if $(wildcard $(BUILD)),$(shell find $(BUILD) -name '*.d'))
