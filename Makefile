# weir: build, check, test, install.
#
#   make            build/weir, build/libweir.so, build/libweir.a
#   make demo       the main job, end to end, in under two minutes
#   make check      what a change must pass before it is committed: about a minute
#   make test       everything; what CI runs
#   make install    PREFIX=/usr/local by default; DESTDIR is honoured
#
# SAN=address | thread   builds into build-$(SAN)/ with that sanitizer.   FUZZ=1   builds the libFuzzer targets.

VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local
CC ?= gcc
SAN ?=
BUILD ?= build$(if $(SAN),-$(SAN))

PKGS_LIB := libuv libcurl sqlite3 libxxhash
PKGS_CLI := libmicrohttpd

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wpointer-arith -Wwrite-strings -Wundef -Werror
CFLAGS ?= -O2 -g
CPPFLAGS_ALL := -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -Iinclude $(CPPFLAGS)
CFLAGS_ALL := -std=gnu17 $(WARNINGS) -fvisibility=hidden -fPIC -pthread $(CFLAGS) $(SANFLAGS)
ifeq ($(SAN),address)
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SAN),thread)
SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer
endif

# Looked up only when something is compiled, so that `make deps` runs on a machine that has none of them yet.
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS_LIB) $(PKGS_CLI))
LIB_LIBS = $(shell pkg-config --libs $(PKGS_LIB)) -lm
CLI_LIBS = $(shell pkg-config --libs $(PKGS_CLI)) -ljq

LIB_SRC := $(sort $(foreach d,base flow core loop exec store observe engine,$(shell find src/$(d) -name '*.c')))
CLI_SRC := $(sort $(shell find src/sim src/serve src/cli -name '*.c' 2>/dev/null))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)

.PHONY: all clean
all: $(BUILD)/weir $(BUILD)/libweir.so $(BUILD)/libweir.a

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# All of the library's objects, with internal symbols: what the command and the tests link.
$(BUILD)/internal.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/weir: $(CLI_OBJ) $(BUILD)/internal.a
	$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $(CLI_OBJ) $(BUILD)/internal.a $(LIB_LIBS) $(CLI_LIBS)

$(BUILD)/libweir.so: $(LIB_OBJ)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS) -shared -Wl,-soname,libweir.so.$(SOVERSION) -Wl,-z,defs -o $@ $^ $(LIB_LIBS)
	ln -sf libweir.so $(BUILD)/libweir.so.$(SOVERSION)

# One object in which only weir_* is visible, so that the names inside cannot clash with a user's.
$(BUILD)/libweir.a: $(LIB_OBJ)
	@rm -f $@
	ld -r -o $(BUILD)/libweir.o $^
	objcopy -w --keep-global-symbol='weir_*' $(BUILD)/libweir.o
	ar rcs $@ $(BUILD)/libweir.o

# Unit tests: tests/unit/NAME/test_X.c -> build/tests/unit/NAME/test_X, linked with everything inside.
TEST_SRC := $(sort $(shell find tests/unit tests/contract tests/simulation -name 'test_*.c' 2>/dev/null))
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_SUPPORT_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(sort $(shell find tests/support -name '*.c' 2>/dev/null)))
# The parts of the command that tests reach into; its main() stays out.
CLI_TEST_OBJ = $(filter-out $(BUILD)/src/cli/main.o,$(CLI_OBJ))

$(BUILD)/tests/%.o: CPPFLAGS_ALL += -Itests
$(TEST_BIN): $(BUILD)/%: $(BUILD)/%.o $(TEST_SUPPORT_OBJ) $(CLI_OBJ) $(BUILD)/internal.a
	$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $< $(TEST_SUPPORT_OBJ) $(CLI_TEST_OBJ) $(BUILD)/internal.a \
	    $(LIB_LIBS) $(CLI_LIBS) -lcmocka

.PHONY: tests
tests: $(TEST_BIN)

clean:
	rm -rf build build-address build-thread build-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
