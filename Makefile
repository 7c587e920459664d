# luamq. `make` builds build/luamq and the Lua module build/lib/luamq/core.so; `make help` lists the rest.
#
#   make CC=clang                another compiler, in a build folder of its own
#   make SAN=address,undefined   under sanitizers, likewise
#   make V=1                     show the commands

SAN     ?=
V       ?= 0
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib/lua/5.4
LUADIR  ?= $(PREFIX)/share/lua/5.4
MANDIR  ?= $(PREFIX)/share/man
DOCDIR  ?= $(PREFIX)/share/doc/luamq
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR  ?= $(PREFIX)/share/zsh/site-functions
DESTDIR ?=
LUA     ?= /usr/bin/lua5.4
SCRIPT  ?= examples/broker.lua
VERSION := 0.1.0

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build$(if $(filter-out gcc,$(CC)),-$(CC))$(if $(SAN),-san)

# Modules that are loaded when a script requires them, with the libraries that they bring.
MODULES := $(sort $(foreach f,$(notdir $(basename $(wildcard src/modules/*.c))),$(firstword $(subst _, ,$(f)))))
http_PKGS     := libcurl libevent_core libssl libcrypto
redis_PKGS    := hiredis
postgres_PKGS := libpq
sqlite_PKGS   := sqlite3

PKGS     := lua5.4 libevent_core libssl libcrypto libsystemd libxcrypt libargon2
CPPFLAGS += -Isrc -D_GNU_SOURCE -DLUAMQ_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) $(foreach m,$(MODULES),$($(m)_PKGS)) 2>/dev/null)
CPPFLAGS += $(if $(SAN),-DHEAP_KEPT_MAX=0)
CFLAGS   ?= $(if $(SAN),-O1,-O2) -g
WARN     := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith
FLAGS    := -std=gnu17 -fPIC -fvisibility=hidden -fno-omit-frame-pointer $(WARN) $(CFLAGS) \
            $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lwslay -lhttp_parser -lm

SRC    := $(wildcard src/*/*.c)
LIB    := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out src/cmd/% src/modules/%,$(SRC)))
CMD    := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter src/cmd/%,$(SRC)))
SUPPORT := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/support/*.c))
TESTS  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c tests/conformance/test_*.c))
FUZZ   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZLIB := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out tests/fuzz/fuzz_%.c tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)))
SPECS  := $(wildcard spec/*_spec.lua examples/*_spec.lua examples/*/*_spec.lua)
LUAMOD := $(wildcard lua/luamq/*.lua)
TYPES  := $(wildcard lua/luamq/types/*.lua)
PAGES  := $(wildcard lua/reference/*.md)
CFILES := $(SRC) $(wildcard src/*/*.h tests/*/*.c tests/*/*.h)

Q   := $(if $(filter 0,$(V)),@)
say  = $(if $(filter 0,$(V)),@printf '  %-5s %s\n' $(1) $(2))

# What busted and lua need to find the modules in the tree.
LUAENV = LUAMQ_BUILD=$(abspath $(BUILD)) LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='$(BUILD)/lib/?.so;;'
# A stock lua does not bring the sanitizer's run-time library, which looks for crypt_r when it is loaded.
PRELOAD = $(foreach l,asan ubsan crypt,$(shell $(CC) -print-file-name=lib$(l).so))
LUAENV += $(if $(findstring address,$(SAN)),LD_PRELOAD="$(PRELOAD)" ASAN_OPTIONS=detect_leaks=1)

.PHONY: all help deps run test test-faults test-reload test-model test-chaos unit spec replay statements includes check reference format bench install rock uninstall hostile reload test-hostile test-logins test-browser test-npm clean $(TESTS:%=test/%) $(SPECS:%=test/%)

all: $(BUILD)/luamq $(BUILD)/lib/luamq/core.so $(MODULES:%=$(BUILD)/lib/luamq/core/%.so) ## build the program and the Lua module

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

deps: ## install what is missing from Debian's packages
	$(Q)scripts/deps

run: deps ## install, build, and serve an example (SCRIPT=...)
	$(Q)$(MAKE) --no-print-directory all
	$(BUILD)/luamq $(SCRIPT)

test: deps ## install, build, and pass all tests
	$(Q)$(MAKE) --no-print-directory includes statements unit replay hostile reload spec
	@echo 'all tests passed'

unit: $(TESTS:%=test/%) ## the tests in C

spec: $(SPECS:%=test/%) ## the tests in Lua, each file in a process of its own (one: make test/spec/hooks_spec.lua)

# Each is a job of make's, so that -j2 has two at a time.
$(TESTS:%=test/%): test/%: %
	$(Q)scripts/run-test $* $*

$(SPECS:%=test/%): test/%: all $(BUILD)/faults/fault.so
	$(Q)scripts/run-test $* $(LUAENV) busted --lua=$(LUA) $*

test-faults: all $(BUILD)/faults/fault.so ## each call of the system fails once; `make spec` takes a sample of them
	$(Q)$(LUAENV) FAULTS=all busted --lua=$(LUA) spec/faults_spec.lua

reload: all ## reloads under load, in short
	$(Q)tests/reload/run --luamq $(BUILD)/luamq --count 100 --seconds 1

test-reload: all ## many reloads under load: nothing is lost, nobody is dropped, memory stays (COUNT=...)
	$(Q)tests/reload/run --luamq $(BUILD)/luamq --count $(or $(COUNT),10000)

test-model: all ## many random sequences against the model of a broker (SEQUENCES=...)
	$(Q)LUAMQ_MODEL_SEQUENCES=$(or $(SEQUENCES),10000) $(LUAENV) busted --lua=$(LUA) spec/model_spec.lua

test-chaos: all ## many random sequences of hooks that wait, clients that go and reloads (SEQUENCES=..., SEED=...)
	$(Q)LUAMQ_CHAOS_SEQUENCES=$(or $(SEQUENCES),10000) LUAMQ_CHAOS_SEED=$(or $(SEED),1) $(LUAENV) busted --lua=$(LUA) spec/chaos_spec.lua

replay: $(patsubst %,$(BUILD)/fuzz/replay_%,$(FUZZ)) ## the fuzzers' corpora, once each
	$(Q)for f in $(FUZZ); do $(BUILD)/fuzz/replay_$$f tests/fuzz/corpus/$$f || exit 1; done

hostile: all ## attacks on a broker, in short
	$(Q)tests/hostile/run --short $(if $(SAN),--sanitized) --luamq $(BUILD)/luamq

test-hostile: deps ## attacks on a broker, and what others notice of them; wants a quiet machine (HOSTILE="half_open")
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/hostile/run --luamq $(BUILD)/luamq $(HOSTILE)

test-logins: deps ## 1,000 clients whose logins wait for a web service, and what another one notices; wants a quiet machine
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(LUAENV) tests/logins/run --luamq $(BUILD)/luamq $(LOGINS)

test-browser: deps ## MQTT.js in Chromium and in node
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/test-browser $(BUILD)/luamq $(BUILD)

test-npm: deps ## MQTT.js in node, in MQTT 3.1.1 and 5
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/test-browser $(BUILD)/luamq $(BUILD) node

statements: ## each normative statement has a test
	$(Q)scripts/statements

reference: all ## the reference in lua/reference, and the definition files of settings and counters
	$(Q)$(LUAENV) $(LUA) scripts/reference

includes: ## rooms include in one direction only
	$(Q)scripts/includes

check: includes statements ## all of the linters
	$(Q)scripts/check

format: ## as .clang-format says
	$(Q)clang-format -i $(CFILES)

bench: ## side by side with mosquitto (BENCH="--quick")
	$(Q)scripts/deps mosquitto
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/bench $(BENCH)

install: rock ## into DESTDIR/PREFIX (or BINDIR, LIBDIR, LUADIR, MANDIR, DOCDIR, UNITDIR, BASHCOMPDIR, ZSHCOMPDIR)
	install -d $(addprefix $(DESTDIR),$(MANDIR)/man1 $(DOCDIR)/reference $(UNITDIR) $(BASHCOMPDIR) $(ZSHCOMPDIR))
	install -m 644 scripts/install/luamq.1 $(DESTDIR)$(MANDIR)/man1/luamq.1
	install -m 644 scripts/install/broker.lua $(DESTDIR)$(DOCDIR)/broker.lua
	install -m 644 scripts/install/luacheckrc $(DESTDIR)$(DOCDIR)/luacheckrc
	sed 's|@LUADIR@|$(LUADIR)|' scripts/install/luarc.json >$(DESTDIR)$(DOCDIR)/luarc.json
	chmod 644 $(DESTDIR)$(DOCDIR)/luarc.json
	install -m 644 $(PAGES) $(DESTDIR)$(DOCDIR)/reference/
	install -m 644 scripts/install/luamq.socket $(DESTDIR)$(UNITDIR)/luamq.socket
	sed 's|@BINDIR@|$(BINDIR)|' scripts/install/luamq.service >$(DESTDIR)$(UNITDIR)/luamq.service
	chmod 644 $(DESTDIR)$(UNITDIR)/luamq.service
	install -m 644 scripts/install/luamq.bash $(DESTDIR)$(BASHCOMPDIR)/luamq
	install -m 644 scripts/install/_luamq $(DESTDIR)$(ZSHCOMPDIR)/_luamq

rock: all ## of install, the program and the Lua modules only
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/luamq/core $(DESTDIR)$(LUADIR)/luamq/types
	install -m 755 $(BUILD)/luamq $(DESTDIR)$(BINDIR)/luamq
	install -m 755 $(BUILD)/lib/luamq/core.so $(DESTDIR)$(LIBDIR)/luamq/core.so
	$(if $(MODULES),install -m 755 $(MODULES:%=$(BUILD)/lib/luamq/core/%.so) $(DESTDIR)$(LIBDIR)/luamq/core/)
	install -m 644 $(LUAMOD) $(DESTDIR)$(LUADIR)/luamq/
	install -m 644 $(TYPES) $(DESTDIR)$(LUADIR)/luamq/types/

uninstall: ## what install put there, and nothing else
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/luamq $(LIBDIR)/luamq/core.so $(LUAMOD:lua/%=$(LUADIR)/%) $(TYPES:lua/%=$(LUADIR)/%))
	rm -f $(MODULES:%=$(DESTDIR)$(LIBDIR)/luamq/core/%.so)
	rm -f $(addprefix $(DESTDIR),$(MANDIR)/man1/luamq.1 $(addprefix $(DOCDIR)/,broker.lua luacheckrc luarc.json $(PAGES:lua/%=%)) $(addprefix $(UNITDIR)/luamq,.service .socket))
	rm -f $(addprefix $(DESTDIR),$(BASHCOMPDIR)/luamq $(ZSHCOMPDIR)/_luamq)
	rmdir $(addprefix $(DESTDIR),$(LIBDIR)/luamq/core $(LIBDIR)/luamq $(LUADIR)/luamq/types $(LUADIR)/luamq $(DOCDIR)/reference $(DOCDIR)) 2>/dev/null || true # what is empty

clean: ## remove all build folders
	rm -rf build build-*

$(BUILD)/obj/%.o: %.c Makefile
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests/support -Itests/fuzz $(FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libluamq.a: $(LIB)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar crs $@ $^

$(BUILD)/luamq: $(CMD) $(BUILD)/libluamq.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -Wl,--export-dynamic -o $@ $(CMD) -Wl,--whole-archive $(BUILD)/libluamq.a -Wl,--no-whole-archive $(LIBS)

$(BUILD)/lib/luamq/core.so: $(LIB)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -shared -o $@ $^ $(LIBS)

# The functions of luamq that they call (base/api.h) are those of the program or of core.so, whichever loads them.
# They stay in memory when their Lua state is closed: a thread of ours, or of a library, may still be in one of them.
define module
$(BUILD)/lib/luamq/core/$(1).so: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard src/modules/$(1).c src/modules/$(1)_*.c))
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(FLAGS) $$(LDFLAGS) -shared -Wl,-z,nodelete -o $$@ $$^ $$(if $$($(1)_PKGS),$$(shell pkg-config --libs $$($(1)_PKGS)))
endef
$(foreach m,$(MODULES),$(eval $(call module,$(m))))

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(SUPPORT) $(BUILD)/libluamq.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# The modules are a part of it: a stock lua lets nobody say which allocation fails.
$(BUILD)/tests/unit/test_module_memory: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard src/modules/*.c))
$(BUILD)/tests/unit/test_module_memory: LIBS := $(BUILD)/libluamq.a $(LIBS) $(shell pkg-config --libs $(foreach m,$(MODULES),$($(m)_PKGS)))

$(BUILD)/fuzz/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(FUZZLIB) $(SUPPORT) $(BUILD)/libluamq.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# Under libFuzzer: scripts/fuzz says with which sanitizers.
$(BUILD)/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(FUZZLIB) $(SUPPORT) $(BUILD)/libluamq.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# It stands between the program and its sanitizers too, so it has none of its own.
$(BUILD)/faults/fault.so: tests/faults/fault.c tests/faults/fault.h
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -fPIC $(WARN) -O1 -g -shared -o $@ $< -ldl

.SECONDARY:
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
