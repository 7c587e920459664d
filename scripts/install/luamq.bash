# Completion of luamq for bash: options, tools, their values, and script files.

_luamq_common='-h --host -p --port --unix -L --url -t --topic -q --qos -u --username -P --pw -i --id -I --id-prefix
  -c --disable-clean-session -k --keepalive -V --protocol-version --will-topic --will-payload --will-qos --will-retain
  -d --debug --quiet --help --cafile --capath --cert --key --insecure --psk --psk-identity --tls-version --tls-alpn
  --tls-use-os-certs --ws --ws-path -x --session-expiry-interval -D --property'
_luamq_pub='-m --message -f --file -s --stdin-file -l --stdin-line -n --null-message -r --retain --repeat
  --repeat-delay -M --max-inflight'
_luamq_sub='-v --verbose -F --format -N --no-newline -C --count -W --timeout -E --exit-subscribed -R --no-stale
  --retained-only -T --filter-out -U --unsubscribe --retain-as-published'
_luamq_bench='-s --scenario -V --protocol-version --host --port --pid --tls --ws --ws-path --seconds --messages --clients --topics --qos
  --payload --window --batch --rate --concurrency --timeout --deadline --one --subscribe -h --help'
_luamq_passwd='-c --create -b --batch -D --delete -U --upgrade -H --hash -C --cost --check -h --help'

_luamq_explain='-i --client -u --user --password-file --password-stdin --trust --ref --address -V --version -q --qos
  -r --retain -m --payload -f --payload-file --json -h --help'
_luamq_replay='--json -h --help'

_luamq_words() { # what they are chosen from; the word under way
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_luamq_files() { # a suffix, or none for all files; the word under way
  local path
  compopt -o filenames 2>/dev/null
  while IFS= read -r path; do
    if [[ -d $path || $path == *"$1" ]]; then COMPREPLY+=("$path"); fi
  done < <(compgen -f -- "$2")
}

_luamq_value() { # the option, the word under way. Fails when the option has no value.
  case $1 in
    -q|--qos|--will-qos) _luamq_words '0 1 2' "$2" ;;
    -V|--protocol-version) _luamq_words 'mqttv31 mqttv311 mqttv5' "$2" ;;
    --tls-version) _luamq_words 'tlsv1.2 tlsv1.3' "$2" ;;
    -h|--host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$2") ;;
    -L|--url) compopt -o nospace 2>/dev/null; _luamq_words 'mqtt:// mqtts:// ws:// wss://' "$2" ;;
    -f|--file|--unix|--cafile|--cert|--key) _luamq_files '' "$2" ;;
    --capath) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    -[ptuPiIkmMFCWTUx]|--port|--topic|--username|--pw|--id|--id-prefix|--keepalive|--will-topic|--will-payload) ;;
    --message|--max-inflight|--format|--count|--timeout|--filter-out|--unsubscribe|--repeat|--repeat-delay) ;;
    --psk|--psk-identity|--tls-alpn|--ws-path|--session-expiry-interval) ;;
    *) return 1 ;;
  esac
}

_luamq_bench_value() {
  case $1 in
    -s|--scenario)
      _luamq_words 'fanout fanin pairs wildcards large latency connects idle retained' "$2" ;;
    --qos) _luamq_words '0 1 2' "$2" ;;
    -V|--protocol-version) _luamq_words 'mqttv31 mqttv311 mqttv5' "$2" ;;
    --host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$2") ;;
    --tls) _luamq_files '' "$2" ;;
    -h|--help|--one|--subscribe|--ws) return 1 ;;
    -*) ;;
    *) return 1 ;;
  esac
}

_luamq_passwd_word() { # the word before, the word
  case $1 in
    -H|--hash) _luamq_words 'yescrypt argon2id pbkdf2' "$2" ;;
    -C|--cost) ;;
    *) if [[ $2 == -* ]]; then _luamq_words "$_luamq_passwd" "$2"; else _luamq_files '' "$2"; fi ;;
  esac
}

_luamq_explain_value() {
  case $1 in
    -q|--qos) _luamq_words '0 1 2' "$2" ;;
    -V|--version) _luamq_words '3.1 3.1.1 5' "$2" ;;
    -f|--payload-file|--password-file) _luamq_files '' "$2" ;;
    -i|--client|-u|--user|--ref|--address|-m|--payload|publish|subscribe|deliver) ;;
    *.lua) _luamq_words 'connect publish subscribe deliver' "$2" ;;
    *) return 1 ;;
  esac
}

_luamq_policy() { # explain or replay, the word before, the word
  local options="_luamq_$1"
  if [[ $1 == explain ]] && _luamq_explain_value "$2" "$3"; then return; fi
  if [[ $3 == -* ]]; then
    _luamq_words "${!options}" "$3"
  elif [[ $1 == explain ]]; then
    _luamq_files .lua "$3"
  else
    _luamq_files '' "$3"
  fi
}

_luamq_property() { # the tool, the command behind -D or nothing, the word
  local message='content-type correlation-data message-expiry-interval payload-format-indicator response-topic'
  case $1:$2 in
    pub:|sub:)
      local commands='connect disconnect will'
      if [[ $1 == pub ]]; then commands+=' publish'; else commands+=' subscribe unsubscribe'; fi
      _luamq_words "$commands" "$3" ;;
    *:connect)
      _luamq_words "authentication-data authentication-method maximum-packet-size receive-maximum
        request-problem-information request-response-information session-expiry-interval topic-alias-maximum
        user-property" "$3" ;;
    *:publish) _luamq_words "$message topic-alias user-property" "$3" ;;
    *:will) _luamq_words "$message will-delay-interval user-property" "$3" ;;
    *:subscribe) _luamq_words 'subscription-identifier user-property' "$3" ;;
    *:unsubscribe) _luamq_words user-property "$3" ;;
    *:disconnect) _luamq_words 'reason-string session-expiry-interval user-property' "$3" ;;
  esac
}

_luamq_tool() { # the tool, the option before the word, the word, the word before the option
  local options="_luamq_$1"
  case $2 in -D|--property) _luamq_property "$1" '' "$3"; return ;; esac
  case $4 in -D|--property) _luamq_property "$1" "$2" "$3"; return ;; esac
  if [[ $1 == passwd ]]; then
    _luamq_passwd_word "$2" "$3"
  elif [[ $1 == bench ]]; then
    _luamq_bench_value "$2" "$3" || _luamq_words "$_luamq_bench" "$3"
  else
    _luamq_value "$2" "$3" || _luamq_words "${!options} $_luamq_common" "$3"
  fi
}

_luamq_broker() { # the words before the one under way, which is the last
  local word=${!#} at
  for ((at = 2; at < $#; at++)); do
    case ${!at} in
      -e|-l|--reload) ((at++)) ;;
      --test) _luamq_files '' "$word"; return ;;
      --) break ;;
      -*) ;;
      *) _luamq_files '' "$word"; return ;; # of the script's own
    esac
  done
  local before=$(($# - 1))
  if [[ $word == -* && ${!before} != -- ]]; then
    _luamq_words '-e -l -i -W -E - --check --dump --test --reload -v --version -h --help --' "$word"
  elif [[ ${!before} == --reload ]]; then
    _luamq_words "$(pgrep -x luamq 2>/dev/null)" "$word"
  elif [[ ${!before} != -[el] ]]; then
    _luamq_files .lua "$word"
    if (($# == 2)); then mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W 'pub sub bench passwd explain record replay' -- "$word"); fi
  fi
}

_luamq() {
  local word=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  case ${COMP_CWORD}:${COMP_WORDS[1]} in
    1:*) _luamq_broker luamq "$word" ;;
    *:pub|*:sub|*:bench|*:passwd) _luamq_tool "${COMP_WORDS[1]}" "${COMP_WORDS[COMP_CWORD - 1]}" "$word" \
      "${COMP_WORDS[COMP_CWORD - 2]}" ;;
    *:record) if [[ $word == -* ]]; then _luamq_words '--seconds --end -h --help' "$word"; else _luamq_files '' "$word"; fi ;;
    *:explain|*:replay) _luamq_policy "${COMP_WORDS[1]}" "${COMP_WORDS[COMP_CWORD - 1]}" "$word" ;;
    *) _luamq_broker "${COMP_WORDS[@]:0:COMP_CWORD}" "$word" ;;
  esac
}

complete -F _luamq luamq
